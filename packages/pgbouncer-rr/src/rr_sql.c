/* See rr_sql.h for what is promised; docs/pgbouncer-rr.md says it for people. */
#include "rr_sql.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- Words: PostgreSQL's keywords, the functions that only read, the names that stay home ---- */

enum word {
	W_NONE,		/* not a word of the table, or one used as a mere name */
	W_OTHER,	/* a keyword that plays no part here */
	W_ABORT, W_ANALYSE, W_ANALYZE, W_AND, W_AS, W_BEGIN, W_BY, W_CHAIN, W_COMMIT, W_COMMITTED,
	W_CONSTRAINTS, W_COPY, W_CROSS, W_CUBE, W_DEFERRABLE, W_DELETE, W_DISTINCT, W_END, W_EXPLAIN, W_FOR, W_FULL,
	W_GROUP, W_GROUPING, W_INNER, W_INSERT, W_INTO, W_ISOLATION, W_JOIN, W_KEY, W_LEFT, W_LEVEL,
	W_MATERIALIZED, W_MERGE, W_NATURAL, W_NO, W_NOT, W_ON, W_ONLY, W_OPERATOR, W_ORDER, W_OUTER,
	W_PARTITION, W_READ, W_RECURSIVE, W_REPEATABLE, W_RESET, W_RIGHT, W_ROLLBACK, W_ROLLUP, W_SELECT,
	W_SERIALIZABLE, W_SET, W_SETS, W_SHARE, W_SHOW, W_START, W_STDOUT, W_TABLE, W_TABLESAMPLE, W_TO, W_TRANSACTION,
	W_UNCOMMITTED, W_UPDATE, W_VALUES, W_VERBOSE, W_WITH, W_WORK, W_WRITE,
	/* Pairs that mean something of their own. */
	W_GROUP_BY, W_DISTINCT_ON,
};

#define RR_WORD_KEYWORD		1
#define RR_WORD_SYNTAX		2	/* a keyword that cannot name a function without quotes */
#define RR_WORD_FUNCTION	4
#define RR_WORD_HOME		8

struct rr_word {
	const char *name;
	unsigned char len;
	unsigned char flags;
	unsigned char number;	/* enum word; W_NONE if it is no keyword */
};

#include "rr_sql_words.inc"

/* PostgreSQL cuts a longer name off; here it is then no name that we know. */
#define NAME_MAX_LEN 63

/* The word, in lower case as the catalogue has it. */
static const struct rr_word *find_word(const char *name, size_t len)
{
	unsigned hash;

	if (len == 0 || len > RR_WORD_MAX)
		return NULL;
	/* bucket() in tools/rr_sql_words.py does the same. */
	hash = (unsigned)len * 31 + (unsigned char)name[0] * 67u + (unsigned char)name[len / 2] * 73u +
	       (unsigned char)name[len - 1] * 101u;
	hash %= RR_WORD_BUCKETS;
	for (size_t i = rr_word_buckets[hash]; i < rr_word_buckets[hash + 1]; i++) {
		if (rr_words[i].len == len && memcmp(rr_words[i].name, name, len) == 0)
			return &rr_words[i];
	}
	return NULL;
}

/* ---- The lexer: PostgreSQL's scan.l, less what is rare and easily mistaken ---- */

enum token_type {
	T_END,
	T_ERROR,
	T_WORD,
	T_QUOTED,	/* "name" */
	T_STRING,	/* of any kind */
	T_NUMBER,
	T_PARAMETER,	/* $1 */
	T_TYPECAST,	/* :: */
	T_SYMBOL,	/* any other single character, operators too */
};

struct token {
	enum token_type type;
	const char *start;
	size_t len;
	char symbol;		/* T_SYMBOL only */
	unsigned char flags;	/* RR_WORD_*, of T_WORD and T_QUOTED */
	enum word word;		/* T_WORD only */
};

struct lexer {
	const char *pos;
	const char *end;
	bool backslash_is_plain;	/* standard_conforming_strings */
	enum token_type last;
	const char *error;
};

enum {
	C_SPACE = 1,
	C_IDENT_START = 2,
	C_DIGIT = 4,
	C_SYMBOL = 8,	/* , ( ) [ ] . ; */
	C_OPERATOR = 16,
	C_DOLLAR = 32,
};

static unsigned char_class(char byte)
{
	enum { S = C_SPACE, L = C_IDENT_START, D = C_DIGIT, P = C_SYMBOL, O = C_OPERATOR, N = C_DOLLAR };
	/* what is above 127 is a part of a name */
	static const unsigned char classes[256] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, S, S, S, S, S, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		S, O, 0, O, N, O, O, 0, P, P, O, O, P, O, P, O,
		D, D, D, D, D, D, D, D, D, D, O, P, O, O, O, O,
		O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, P, 0, P, O, L,
		O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, 0, O, 0, O, 0,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
		L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
	};

	return classes[(unsigned char)byte];
}

static bool is_ident_part(char c)
{
	return char_class(c) & (C_IDENT_START | C_DIGIT | C_DOLLAR);
}

static char fold(char c)
{
	return (char)(c | ((unsigned)(c - 'A') < 26) << 5);
}

static void lexer_init(struct lexer *lexer, const char *sql, size_t len, const struct rr_sql_options *options)
{
	lexer->pos = sql;
	lexer->end = sql + len;
	lexer->backslash_is_plain = options->standard_conforming_strings;
	lexer->last = T_END;
	lexer->error = NULL;
}

static bool starts(const struct lexer *lexer, char first, char second)
{
	return lexer->end - lexer->pos >= 2 && lexer->pos[0] == first && lexer->pos[1] == second;
}

/* Skips white space and comments; false if a comment has no end. */
static bool skip_space(struct lexer *lexer)
{
	while (lexer->pos < lexer->end) {
		if (char_class(*lexer->pos) & C_SPACE) {
			lexer->pos++;
		} else if (starts(lexer, '-', '-')) {
			while (lexer->pos < lexer->end && *lexer->pos != '\n' && *lexer->pos != '\r')
				lexer->pos++;
		} else if (starts(lexer, '/', '*')) {
			size_t depth = 0;

			do {
				if (starts(lexer, '/', '*')) {
					depth++;
					lexer->pos += 2;
				} else if (starts(lexer, '*', '/')) {
					depth--;
					lexer->pos += 2;
				} else if (lexer->pos == lexer->end) {
					return false;
				} else {
					lexer->pos++;
				}
			} while (depth > 0);
		} else {
			break;
		}
	}
	return true;
}

/* Moves past a quoted thing whose opening quote has been read; a doubled quote stands for itself. */
static bool skip_quoted(struct lexer *lexer, char quote, bool backslash_escapes)
{
	while (lexer->pos < lexer->end) {
		char c = *lexer->pos++;

		if (c == quote) {
			if (lexer->pos == lexer->end || *lexer->pos != quote)
				return true;
			lexer->pos++;
		} else if (c == '\\' && backslash_escapes) {
			if (lexer->pos == lexer->end)
				return false;
			lexer->pos++;
		}
	}
	return false;
}

/* $tag$ ... $tag$; a $ that opens none is an error. */
static bool skip_dollar_quoted(struct lexer *lexer)
{
	const char *tag = lexer->pos++;
	size_t tag_len;

	if (lexer->pos < lexer->end && (char_class(*lexer->pos) & C_IDENT_START)) {
		while (lexer->pos < lexer->end && (char_class(*lexer->pos) & (C_IDENT_START | C_DIGIT)))
			lexer->pos++;
	}
	if (lexer->pos == lexer->end || *lexer->pos != '$')
		return false;
	lexer->pos++;
	tag_len = (size_t)(lexer->pos - tag);
	while ((size_t)(lexer->end - lexer->pos) >= tag_len) {
		const char *dollar = memchr(lexer->pos, '$', (size_t)(lexer->end - lexer->pos) - tag_len + 1);

		if (dollar == NULL)
			return false;
		/* A tag holds no $ inside, so each byte is compared once. */
		if (memcmp(dollar, tag, tag_len) == 0) {
			lexer->pos = dollar + tag_len;
			return true;
		}
		lexer->pos = dollar + 1;
	}
	return false;
}

static void skip_digits(struct lexer *lexer)
{
	while (lexer->pos < lexer->end && (char_class(*lexer->pos) & C_DIGIT))
		lexer->pos++;
}

/* Plain decimal numbers; what may follow one differs between PostgreSQL's versions, so nothing word-like may. */
static bool skip_number(struct lexer *lexer)
{
	skip_digits(lexer);
	if (lexer->pos < lexer->end && *lexer->pos == '.') {
		lexer->pos++;
		skip_digits(lexer);
	}
	if (lexer->pos < lexer->end && fold(*lexer->pos) == 'e') {
		lexer->pos++;
		if (lexer->pos < lexer->end && (*lexer->pos == '+' || *lexer->pos == '-'))
			lexer->pos++;
		if (lexer->pos == lexer->end || !(char_class(*lexer->pos) & C_DIGIT))
			return false;
		skip_digits(lexer);
	}
	return lexer->pos == lexer->end || !(is_ident_part(*lexer->pos) || *lexer->pos == '.');
}

static void read_word(struct lexer *lexer, struct token *token)
{
	char folded[RR_WORD_MAX];
	const char *p = lexer->pos, *end = lexer->end;
	const struct rr_word *word = NULL;
	size_t len;

	while (p < end && is_ident_part(*p))
		p++;
	len = (size_t)(p - lexer->pos);
	if (len <= RR_WORD_MAX) {
		for (size_t i = 0; i < len; i++)
			folded[i] = fold(lexer->pos[i]);
		word = find_word(folded, len);
	}
	lexer->pos = p;
	token->type = T_WORD;
	if (word != NULL) {
		token->flags = word->flags;
		token->word = word->number;
	}
}

static void read_quoted_name(struct token *token)
{
	const struct rr_word *word = find_word(token->start + 1, token->len - 2);

	if (word != NULL)
		token->flags = word->flags & (RR_WORD_FUNCTION | RR_WORD_HOME);
}

static void next_token(struct lexer *lexer, struct token *token)
{
	unsigned class;
	char c, second;

	memset(token, 0, sizeof(*token));
	if (!skip_space(lexer)) {
		lexer->error = "a comment without an end";
		token->start = lexer->pos;
		goto failed;
	}
	token->start = lexer->pos;
	if (lexer->pos == lexer->end) {
		token->type = T_END;
		lexer->last = T_END;
		return;
	}
	c = *lexer->pos;
	second = lexer->end - lexer->pos > 1 ? lexer->pos[1] : '\0';
	class = char_class(c);

	if (c == '\'' || (second == '\'' && strchr("eEnNbBxX", c) != NULL)) {
		bool escapes = fold(c) == 'e';

		/* 'a' '\n' 'b' is one string, and what the second part means depends on the first. */
		if (lexer->last == T_STRING) {
			lexer->error = "a string that continues another";
			goto failed;
		}
		if (!escapes && !lexer->backslash_is_plain) {
			lexer->error = "standard_conforming_strings is off";
			goto failed;
		}
		lexer->pos += c == '\'' ? 1 : 2;
		token->type = T_STRING;
		if (!skip_quoted(lexer, '\'', escapes)) {
			lexer->error = "a string without an end";
			goto failed;
		}
	} else if (fold(c) == 'u' && second == '&' && lexer->end - lexer->pos > 2 &&
		   (lexer->pos[2] == '\'' || lexer->pos[2] == '"')) {
		lexer->error = "Unicode escapes";
		goto failed;
	} else if (class & C_IDENT_START) {
		read_word(lexer, token);
	} else if (c == '"') {
		lexer->pos++;
		token->type = T_QUOTED;
		if (!skip_quoted(lexer, '"', false)) {
			lexer->error = "a name without an end";
			goto failed;
		}
	} else if ((class & C_DIGIT) || (c == '.' && (char_class(second) & C_DIGIT))) {
		token->type = T_NUMBER;
		if (!skip_number(lexer)) {
			lexer->error = "an unknown kind of number";
			goto failed;
		}
	} else if (c == '$' && (char_class(second) & C_DIGIT)) {
		token->type = T_PARAMETER;
		lexer->pos++;
		skip_digits(lexer);
		if (lexer->pos < lexer->end && is_ident_part(*lexer->pos)) {
			lexer->error = "an unknown kind of parameter";
			goto failed;
		}
	} else if (c == '$') {
		token->type = T_STRING;
		if (lexer->last == T_STRING || !skip_dollar_quoted(lexer)) {
			lexer->error = "a dollar sign out of place";
			goto failed;
		}
	} else if (c == ':' && second == ':') {
		token->type = T_TYPECAST;
		lexer->pos += 2;
	} else if (class & (C_SYMBOL | C_OPERATOR)) {
		token->type = T_SYMBOL;
		token->symbol = c;
		lexer->pos++;
	} else {
		lexer->error = "an unknown character";
		goto failed;
	}
	token->len = (size_t)(lexer->pos - token->start);
	if (token->type == T_QUOTED)
		read_quoted_name(token);
	lexer->last = token->type;
	return;

failed:
	token->type = T_ERROR;
	token->len = (size_t)(lexer->end - token->start);
}

static bool is_symbol(const struct token *token, char symbol)
{
	return token->type == T_SYMBOL && token->symbol == symbol;
}

/* ---- Encodings ---- */

enum rr_sql_encoding rr_sql_encoding(const char *client_encoding)
{
	static const char *const utf8[] = { "utf8", "unicode" };
	/* PostgreSQL's names for its single-byte encodings, by their beginnings. */
	static const char *const single[] = {
		"sqlascii", "latin", "iso8859", "koi8", "win", "windows125", "windows866", "windows874", "abc", "tcvn", "vscii", "alt",
	};
	char name[32];
	size_t len = 0;

	if (strcmp(client_encoding, "UTF8") == 0)
		return RR_SQL_ENC_UTF8;	/* as nearly all clients say it */
	for (; *client_encoding != '\0'; client_encoding++) {
		if (!(char_class(*client_encoding) & (C_IDENT_START | C_DIGIT)) || *client_encoding == '_')
			continue;
		if (len == sizeof(name) - 1)
			return RR_SQL_ENC_ASCII_ONLY;
		name[len++] = fold(*client_encoding);
	}
	name[len] = '\0';
	for (size_t i = 0; i < sizeof(utf8) / sizeof(utf8[0]); i++) {
		if (strcmp(name, utf8[i]) == 0)
			return RR_SQL_ENC_UTF8;
	}
	/* WIN932, WIN936, WIN949 and WIN950 and their long names are multi-byte. */
	if (strncmp(name, "win9", 4) == 0 || strncmp(name, "windows9", 8) == 0)
		return RR_SQL_ENC_ASCII_ONLY;
	for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++) {
		if (strncmp(name, single[i], strlen(single[i])) == 0)
			return RR_SQL_ENC_SINGLE_BYTE;
	}
	return RR_SQL_ENC_ASCII_ONLY;
}

static bool is_continuation(unsigned char c)
{
	return (c & 0xC0) == 0x80;
}

/* The length of the UTF-8 character at `s`, which PostgreSQL accepts, or 0. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xC2 && s[0] <= 0xDF)
		return left >= 2 && is_continuation(s[1]) ? 2 : 0;
	if (s[0] >= 0xE0 && s[0] <= 0xEF) {
		if (left < 3 || !is_continuation(s[1]) || !is_continuation(s[2]))
			return 0;
		if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F))
			return 0;
		return 3;
	}
	if (s[0] >= 0xF0 && s[0] <= 0xF4) {
		if (left < 4 || !is_continuation(s[1]) || !is_continuation(s[2]) || !is_continuation(s[3]))
			return 0;
		if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
			return 0;
		return 4;
	}
	return 0;
}

/* No zero byte, and nothing that the encoding does not allow. */
static bool encoding_is_valid(const char *sql, size_t len, enum rr_sql_encoding encoding)
{
	const unsigned char *s = (const unsigned char *)sql;
	size_t i = 0;

	while (i < len) {
		size_t step;
		uint64_t block;

		if (len - i >= sizeof(block)) {
			memcpy(&block, s + i, sizeof(block));
			/* Eight bytes of which none is zero and none above 127. */
			if (((block | (block - UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080)) == 0) {
				i += sizeof(block);
				continue;
			}
		}
		if (s[i] == 0)
			return false;
		step = 1;
		if (s[i] >= 0x80) {
			if (encoding == RR_SQL_ENC_ASCII_ONLY)
				return false;
			if (encoding == RR_SQL_ENC_UTF8)
				step = utf8_length(s + i, len - i);
		}
		if (step == 0)
			return false;
		i += step;
	}
	return true;
}

/* ---- A site's own functions ---- */

struct rr_sql_functions {
	size_t count;
	char **names;	/* sorted */
	char text[];	/* what the names point into */
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct rr_sql_functions *rr_sql_functions_parse(const char *list, const char **error)
{
	size_t len = strlen(list);
	struct rr_sql_functions *functions = malloc(sizeof(*functions) + len + 1);
	char *pos;

	*error = "out of memory";
	if (functions == NULL)
		return NULL;
	functions->count = 0;
	functions->names = calloc(len / 2 + 1, sizeof(char *));
	if (functions->names == NULL)
		goto failed;
	memcpy(functions->text, list, len + 1);

	*error = "a function is \"name\" or \"schema.name\", each at most 63 bytes, without quotes";
	for (pos = functions->text; *pos != '\0';) {
		char *name = pos, *dot = NULL;

		while (is_ident_part(*pos) || *pos == '.') {
			if (*pos == '.') {
				if (dot != NULL)
					goto failed;
				dot = pos;
			}
			pos++;
		}
		if (pos > name) {
			size_t before = dot != NULL ? (size_t)(dot - name) : 1;
			size_t after = (size_t)(pos - (dot != NULL ? dot + 1 : name));

			if (before == 0 || before > NAME_MAX_LEN || after == 0 || after > NAME_MAX_LEN)
				goto failed;
			functions->names[functions->count++] = name;
		}
		if (*pos == '\0')
			break;
		if (*pos != ',' && !(char_class(*pos) & C_SPACE))
			goto failed;
		*pos++ = '\0';
	}
	qsort(functions->names, functions->count, sizeof(char *), compare_names);
	*error = NULL;
	return functions;

failed:
	rr_sql_functions_free(functions);
	return NULL;
}

void rr_sql_functions_free(struct rr_sql_functions *functions)
{
	if (functions != NULL)
		free(functions->names);
	free(functions);
}

static bool is_own_function(const struct rr_sql_functions *functions, const char *name)
{
	return functions != NULL && functions->count > 0 &&
	       bsearch(&name, functions->names, functions->count, sizeof(char *), compare_names) != NULL;
}

/* ---- The classifier ---- */

#define MAX_DEPTH 250

/* Where a parenthesis level is within the list of a WITH that opened it. */
enum with_state {
	WITH_NONE,
	WITH_NAME,	/* a name comes, or RECURSIVE */
	WITH_AS,	/* after the name: columns in parentheses, or AS */
	WITH_BODY,	/* after AS: [NOT] MATERIALIZED, or the query in parentheses */
	WITH_NEXT,	/* after the query: a comma, or the list is over */
};

struct level {
	unsigned char with;
	bool fresh;		/* nothing read at this level yet */
	bool distinct_on;	/* DISTINCT ON ( ... ): an expression follows the closing parenthesis */
};

/* What came just before, as far as it decides what an opening parenthesis means. */
struct before {
	enum word word;
	enum token_type type;
	char symbol;
	bool ends_operand;	/* a function call cannot follow */
};

struct scan {
	const char *text;
	struct lexer lexer;
	const struct rr_sql_options *options;
	struct rr_sql_result *result;
	struct token token;	/* the one being looked at */
	struct before prev;	/* the one before it */

	/* The name that prev ends, if it ends one (parts > 0), and what came before the whole of it. */
	size_t parts;
	struct token name;	/* the last part; its spelling is in the text, not in .name */
	struct token schema;	/* the part before it */
	struct before outer;

	size_t depth;
	struct level levels[MAX_DEPTH + 1];
};

/* Always false, so that a check can end with it. */
static bool doubtful(struct scan *scan, const char *reason)
{
	scan->result->kind = RR_SQL_WRITE;
	scan->result->reason = reason;
	scan->result->offset = (size_t)(scan->token.start - scan->text);
	scan->result->length = scan->token.len;
	return false;
}

static void advance(struct scan *scan)
{
	next_token(&scan->lexer, &scan->token);
}

static bool at_word(const struct scan *scan, enum word word)
{
	return scan->token.type == T_WORD && scan->token.word == word;
}

static bool skip_word(struct scan *scan, enum word word)
{
	if (!at_word(scan, word))
		return false;
	advance(scan);
	return true;
}

/* Writes a name as the catalogue spells it, with a zero byte; returns its length, 0 if it cannot be told. */
static size_t spell(const struct token *token, char *out)
{
	size_t len = token->len;

	if (token->type == T_QUOTED) {
		len -= 2;
		if (len > NAME_MAX_LEN || memchr(token->start + 1, '"', len) != NULL)
			return 0;
		memcpy(out, token->start + 1, len);
	} else {
		if (len > NAME_MAX_LEN)
			return 0;
		for (size_t i = 0; i < len; i++)
			out[i] = fold(token->start[i]);
	}
	out[len] = '\0';
	return len;
}

/* Whether calling the function that scan->name names only reads. */
static bool is_read_function(const struct scan *scan)
{
	char name[2 * NAME_MAX_LEN + 2];
	size_t len = 0;
	bool listed = scan->name.flags & RR_WORD_FUNCTION;

	if (scan->parts > 2)
		return false;
	if (scan->parts == 2) {
		len = spell(&scan->schema, name);
		if (len == 0)
			return false;
		listed = listed && strcmp(name, "pg_catalog") == 0;
		name[len++] = '.';
	}
	return listed || (spell(&scan->name, name + len) > 0 && is_own_function(scan->options->read_functions, name));
}

/* TABLESAMPLE takes PostgreSQL's two methods, or one of an extension. */
static bool is_sampling_method(const struct scan *scan)
{
	char name[NAME_MAX_LEN + 1];

	return scan->parts == 1 && spell(&scan->name, name) > 0 &&
	       (strcmp(name, "system") == 0 || strcmp(name, "bernoulli") == 0);
}

/*
 * A parenthesis follows a name: is it no function call, or one that only reads?
 * A mere list follows a type, an alias, the name of a WITH query, and a keyword that cannot name a function.
 */
static bool may_open(const struct scan *scan)
{
	enum word before = scan->outer.word;

	if (before == W_TABLESAMPLE)
		return is_sampling_method(scan);
	if (scan->outer.type == T_TYPECAST || before == W_AS)
		return true;
	if (scan->parts == 1) {
		enum word word = scan->prev.word;

		if (word == W_OPERATOR)
			return false;
		if (scan->outer.ends_operand || scan->levels[scan->depth].with == WITH_AS)
			return true;
		if (word != W_NONE && (scan->name.flags & RR_WORD_SYNTAX))
			return true;
		if (word == W_GROUP_BY || (word == W_BY && (before == W_ORDER || before == W_PARTITION)))
			return true;
		if ((word == W_ROLLUP || word == W_CUBE) && before == W_GROUP_BY)
			return true;
		if (word == W_SETS && before == W_GROUPING)
			return true;
		if (word == W_JOIN && (before == W_INNER || before == W_LEFT || before == W_RIGHT || before == W_FULL ||
				       before == W_OUTER || before == W_CROSS || before == W_NATURAL))
			return true;
	}
	return is_read_function(scan);
}

/* Follows the list of a WITH: only there is `name (` a list of columns with nothing before it to tell. */
static void follow_with(struct scan *scan)
{
	struct level *level = &scan->levels[scan->depth];
	const struct token *token = &scan->token;

	switch (level->with) {
	case WITH_NONE:
		if (level->fresh && at_word(scan, W_WITH))
			level->with = WITH_NAME;
		break;
	case WITH_NAME:
		if (at_word(scan, W_RECURSIVE))
			break;
		level->with = token->type == T_WORD || token->type == T_QUOTED ? WITH_AS : WITH_NONE;
		break;
	case WITH_AS:
		if (at_word(scan, W_AS))
			level->with = WITH_BODY;
		else if (!is_symbol(token, '(') && !is_symbol(token, ')'))
			level->with = WITH_NONE;
		break;
	case WITH_BODY:
		if (is_symbol(token, ')'))
			level->with = WITH_NEXT;
		else if (!is_symbol(token, '(') && !at_word(scan, W_NOT) && !at_word(scan, W_MATERIALIZED))
			level->with = WITH_NONE;
		break;
	case WITH_NEXT:
		level->with = is_symbol(token, ',') ? WITH_NAME : WITH_NONE;
		break;
	}
	level->fresh = false;
}

/* Makes the token just checked the previous one. */
static void remember(struct scan *scan)
{
	struct token *token = &scan->token;
	struct before now = { .word = W_NONE, .type = token->type, .symbol = token->symbol };
	bool after_dot = scan->prev.type == T_SYMBOL && scan->prev.symbol == '.';

	switch (token->type) {
	case T_WORD:
	case T_QUOTED:
		/* After a dot, AS or :: a keyword is a mere name, or part of a type. */
		if (!after_dot && scan->prev.word != W_AS && scan->prev.type != T_TYPECAST)
			now.word = token->word;
		if (now.word == W_BY && scan->prev.word == W_GROUP)
			now.word = W_GROUP_BY;
		else if (now.word == W_ON && scan->prev.word == W_DISTINCT)
			now.word = W_DISTINCT_ON;
		now.ends_operand = now.word == W_NONE;
		if (after_dot) {
			scan->schema = scan->name;
			scan->parts++;
		} else {
			scan->outer = scan->prev;
			scan->parts = 1;
		}
		scan->name = *token;
		break;
	case T_SYMBOL:
		if (token->symbol == '.') {
			/* (expression).name: never the name of a function alone. */
			if (scan->parts == 0) {
				scan->parts = 2;
				scan->name = *token;
				scan->outer = now;
			}
			break;
		}
		scan->parts = 0;
		now.ends_operand = token->symbol == ']' ||
				   (token->symbol == ')' && !scan->levels[scan->depth + 1].distinct_on);
		break;
	default:
		scan->parts = 0;
		now.ends_operand = token->type == T_STRING || token->type == T_NUMBER || token->type == T_PARAMETER;
		break;
	}
	scan->prev = now;
}

static bool check_name(struct scan *scan)
{
	static const char prefix[] = "pg_temp";
	const struct token *token = &scan->token;
	const char *name = token->start + (token->type == T_QUOTED);
	size_t i = 0;

	if (token->flags & RR_WORD_HOME)
		return doubtful(scan, "a relation that differs between servers");
	/* No name runs past its token: the prefix holds no quote. */
	while (i < token->len && prefix[i] != '\0' && fold(name[i]) == prefix[i])
		i++;
	return prefix[i] != '\0' || doubtful(scan, "a temporary schema");
}

static bool check_word(struct scan *scan)
{
	switch (scan->token.word) {
	case W_INSERT:
	case W_UPDATE:
	case W_DELETE:
	case W_MERGE:
		return doubtful(scan, "a statement that writes");
	case W_INTO:
		return doubtful(scan, "SELECT INTO");
	case W_NO:
	case W_KEY:
	case W_SHARE:
	case W_READ:
		if (scan->prev.word == W_FOR)
			return doubtful(scan, "a row lock");
		break;
	default:
		break;
	}
	return true;
}

static bool open_level(struct scan *scan)
{
	struct level *level;

	if (scan->parts > 0 && !may_open(scan)) {
		scan->token = scan->name;
		return doubtful(scan, "a function that is not known to be a read");
	}
	if (scan->depth == MAX_DEPTH - 1)
		return doubtful(scan, "parentheses too deep");
	level = &scan->levels[++scan->depth];
	level->with = WITH_NONE;
	level->fresh = true;
	level->distinct_on = scan->prev.word == W_DISTINCT_ON;
	return true;
}

/* Reads a query up to the end of the statement or, if `parenthesized`, to the end of its parentheses. */
static bool scan_query(struct scan *scan, bool parenthesized)
{
	for (;; advance(scan)) {
		const struct token *token = &scan->token;

		if (token->type == T_ERROR)
			return doubtful(scan, scan->lexer.error);
		if (token->type == T_END || is_symbol(token, ';'))
			return (scan->depth == 0 && !parenthesized) || doubtful(scan, "parentheses that do not match");
		if (token->type == T_WORD && !check_word(scan))
			return false;
		if ((token->type == T_WORD || token->type == T_QUOTED) && !check_name(scan))
			return false;
		if (is_symbol(token, '(')) {
			follow_with(scan);
			if (!open_level(scan))
				return false;
		} else if (is_symbol(token, ')')) {
			if (scan->depth == 0)
				return doubtful(scan, "parentheses that do not match");
			scan->depth--;
			follow_with(scan);
		} else {
			follow_with(scan);
		}
		remember(scan);
		if (parenthesized && scan->depth == 0) {
			advance(scan);
			return true;
		}
	}
}

static bool starts_query(const struct token *token)
{
	return is_symbol(token, '(') || token->word == W_SELECT || token->word == W_VALUES || token->word == W_TABLE ||
	       token->word == W_WITH;
}

/* The options of EXPLAIN, in parentheses or not; also false if they are none. */
static bool skip_explain_options(struct scan *scan)
{
	struct lexer lexer = scan->lexer;
	struct token next;

	if (!is_symbol(&scan->token, '(')) {
		while (at_word(scan, W_ANALYZE) || at_word(scan, W_ANALYSE) || at_word(scan, W_VERBOSE))
			advance(scan);
		return true;
	}
	next_token(&lexer, &next);
	if (starts_query(&next))
		return true;
	while (!is_symbol(&scan->token, ')')) {
		advance(scan);
		if (scan->token.type == T_END || scan->token.type == T_ERROR || is_symbol(&scan->token, '('))
			return false;
	}
	advance(scan);
	return true;
}

/* What COPY copies: a query in parentheses, or a relation with or without columns. */
static bool skip_copy_source(struct scan *scan)
{
	if (is_symbol(&scan->token, '('))
		return scan_query(scan, true);
	for (;;) {
		if (scan->token.type != T_WORD && scan->token.type != T_QUOTED)
			return doubtful(scan, "not a plain COPY out");
		if (!check_name(scan))
			return false;
		advance(scan);
		if (!is_symbol(&scan->token, '.'))
			break;
		advance(scan);
	}
	return !is_symbol(&scan->token, '(') || scan_query(scan, true);
}

static bool check_copy(struct scan *scan)
{
	if (!skip_copy_source(scan))
		return false;
	if (!skip_word(scan, W_TO) || !skip_word(scan, W_STDOUT))
		return doubtful(scan, "not a plain COPY out");
	return scan_query(scan, false);
}

/* BEGIN or START TRANSACTION has been read; its modes up to the end of the statement. */
static enum rr_sql_kind begin_kind(struct scan *scan)
{
	bool read_only = false, other = false;

	for (;;) {
		if (scan->token.type == T_END || is_symbol(&scan->token, ';'))
			return read_only && !other ? RR_SQL_BEGIN_READ_ONLY : RR_SQL_BEGIN;
		if (scan->token.type == T_ERROR)
			return RR_SQL_WRITE;
		if (skip_word(scan, W_READ)) {
			if (skip_word(scan, W_ONLY))
				read_only = true;
			else if (skip_word(scan, W_WRITE))
				other = true;
			else if (!skip_word(scan, W_COMMITTED) && !skip_word(scan, W_UNCOMMITTED))
				return RR_SQL_WRITE;
		} else if (at_word(scan, W_ISOLATION) || at_word(scan, W_LEVEL) || at_word(scan, W_NOT) ||
			   at_word(scan, W_DEFERRABLE) || is_symbol(&scan->token, ',')) {
			advance(scan);
		} else if (skip_word(scan, W_REPEATABLE)) {
			if (!skip_word(scan, W_READ))
				return RR_SQL_WRITE;
		} else if (skip_word(scan, W_SERIALIZABLE)) {
			other = true;	/* a standby refuses it */
		} else {
			return RR_SQL_WRITE;
		}
	}
}

/* Decides on the first statement and stops at its end; false if it is doubtful. */
static bool check_statement(struct scan *scan)
{
	struct rr_sql_result *result = scan->result;

	if (scan->token.type == T_END || is_symbol(&scan->token, ';')) {
		result->kind = RR_SQL_EMPTY;
		return true;
	}
	if (scan->token.type == T_ERROR)
		return doubtful(scan, scan->lexer.error);

	if (skip_word(scan, W_EXPLAIN)) {
		result->kind = RR_SQL_READ;
		if (!skip_explain_options(scan) || !starts_query(&scan->token))
			return doubtful(scan, "EXPLAIN of something other than a query");
		return scan_query(scan, false);
	}
	if (starts_query(&scan->token)) {
		result->kind = RR_SQL_READ;
		return scan_query(scan, false);
	}
	if (skip_word(scan, W_COPY)) {
		result->kind = RR_SQL_READ;
		return check_copy(scan);
	}
	if (skip_word(scan, W_BEGIN)) {
		if (!skip_word(scan, W_WORK))
			skip_word(scan, W_TRANSACTION);
		result->kind = begin_kind(scan);
		return result->kind != RR_SQL_WRITE || doubtful(scan, "an unknown mode of BEGIN");
	}
	if (skip_word(scan, W_START)) {
		if (!skip_word(scan, W_TRANSACTION))
			return doubtful(scan, "not a query");
		result->kind = begin_kind(scan);
		return result->kind != RR_SQL_WRITE || doubtful(scan, "an unknown mode of START TRANSACTION");
	}
	if (skip_word(scan, W_COMMIT) || skip_word(scan, W_END) || skip_word(scan, W_ROLLBACK) || skip_word(scan, W_ABORT)) {
		result->kind = RR_SQL_COMMIT_ROLLBACK;
		if (!skip_word(scan, W_WORK))
			skip_word(scan, W_TRANSACTION);
		if (skip_word(scan, W_AND) && !(skip_word(scan, W_NO) && skip_word(scan, W_CHAIN)))
			return doubtful(scan, "a chained transaction");
		return scan->token.type == T_END || is_symbol(&scan->token, ';') ||
		       doubtful(scan, "not the end of a transaction block");
	}
	if (at_word(scan, W_SET) || at_word(scan, W_RESET) || at_word(scan, W_SHOW)) {
		result->kind = RR_SQL_SESSION;
		advance(scan);
		if (at_word(scan, W_CONSTRAINTS))
			return doubtful(scan, "SET CONSTRAINTS");	/* fires deferred triggers */
		while (scan->token.type != T_END && !is_symbol(&scan->token, ';')) {
			if (scan->token.type == T_ERROR)
				return doubtful(scan, scan->lexer.error);
			advance(scan);
		}
		return true;
	}
	return doubtful(scan, "not a query");
}

void rr_sql_classify(const char *sql, size_t len, const struct rr_sql_options *options, struct rr_sql_result *result)
{
	struct scan scan;

	result->reason = NULL;
	result->offset = 0;
	result->length = len;
	if (!encoding_is_valid(sql, len, options->encoding)) {
		result->kind = RR_SQL_WRITE;
		result->reason = "not valid in the client's encoding";
		return;
	}
	scan.text = sql;
	scan.options = options;
	scan.result = result;
	scan.prev = (struct before){ 0 };
	scan.parts = 0;
	scan.name = scan.schema = (struct token){ 0 };
	scan.depth = 0;
	scan.levels[0] = (struct level){ .fresh = true };
	lexer_init(&scan.lexer, sql, len, options);
	advance(&scan);
	if (!check_statement(&scan))
		return;
	while (is_symbol(&scan.token, ';'))
		advance(&scan);
	if (scan.token.type != T_END) {
		doubtful(&scan, "several statements");
		return;
	}
	if (result->kind == RR_SQL_READ && !options->standard_conforming_strings)
		doubtful(&scan, "standard_conforming_strings is off");
}

/* ---- Shapes and fingerprints ---- */

/* Outside of quotes: a comment or a dollar-quoted string begins, in which quotes are no quotes. */
static bool hides_quotes(const char *p, const char *end)
{
	char next = p + 1 < end ? p[1] : '\0';

	return (*p == '-' && next == '-') || (*p == '/' && next == '*') || (*p == '$' && !(char_class(next) & C_DIGIT));
}

size_t rr_sql_shape(const char *sql, size_t len, char *out)
{
	const char *p = sql, *end = sql + len;
	char *start = out;
	/* Only where names are quoted it must be known what is quoted. */
	bool names = len > 0 && memchr(sql, '"', len) != NULL;
	char quote = '\0';

	while (p < end) {
		if (char_class(*p) & C_DIGIT) {
			/* In a name, another digit may make it another one. */
			bool in_name = quote == '"' || (p > sql && is_ident_part(p[-1]));

			if (!in_name)
				*out++ = '0';
			for (; p < end && (char_class(*p) & C_DIGIT); p++) {
				if (in_name)
					*out++ = *p;
			}
			continue;
		}
		if (names) {
			if (*p == quote)
				quote = '\0';
			else if (quote == '\0' && (*p == '"' || *p == '\''))
				quote = *p;
			else if (*p == '\\' || (quote == '\0' && hides_quotes(p, end)))
				return 0;
		}
		*out++ = *p++;
	}
	return (size_t)(out - start);
}

static bool is_word_like(const struct token *token)
{
	return token->type == T_WORD || token->type == T_NUMBER || token->type == T_PARAMETER;
}

static bool is_operator(const struct token *token)
{
	return (token->type == T_SYMBOL || token->type == T_TYPECAST) && (char_class(*token->start) & C_OPERATOR);
}

/* Whether two tokens that stood apart would run into one or into others: "< =", e 'x', 1 .5 */
static bool needs_space(const struct token *left, const struct token *right)
{
	if (is_word_like(left))
		return is_word_like(right) || right->type == T_STRING || is_symbol(right, '&') || is_symbol(right, '.');
	if (left->type == T_QUOTED)
		return right->type == T_QUOTED;
	if (is_symbol(left, '.'))
		return right->type == T_NUMBER;
	if (is_symbol(left, '&') && (right->type == T_STRING || right->type == T_QUOTED))
		return true;
	return is_operator(left) && is_operator(right);
}

bool rr_sql_fingerprint(const char *sql, size_t len, const struct rr_sql_options *options, char *out, size_t *out_len)
{
	struct lexer lexer;
	struct token token, last = { .type = T_END };
	const char *last_end = sql;
	char *pos = out;
	bool apart;

	if (!encoding_is_valid(sql, len, options->encoding))
		return false;
	lexer_init(&lexer, sql, len, options);
	for (;;) {
		next_token(&lexer, &token);
		if (token.type == T_ERROR)
			return false;
		if (token.type == T_END)
			break;
		/* a.5 and u&x'1F' do not touch what comes before them, a0 and u&'' would; what got shorter has room. */
		apart = token.start > last_end || (token.type == T_NUMBER && token.len > 1) ||
			(token.type == T_STRING && token.len > 2);
		if (last.type != T_END && apart && needs_space(&last, &token))
			*pos++ = ' ';
		switch (token.type) {
		case T_STRING:
			*pos++ = '\'';
			*pos++ = '\'';
			break;
		case T_NUMBER:
			*pos++ = '0';
			break;
		case T_WORD:
			for (size_t i = 0; i < token.len; i++)
				*pos++ = fold(token.start[i]);
			break;
		default:
			memcpy(pos, token.start, token.len);
			pos += token.len;
			break;
		}
		last = token;
		last_end = token.start + token.len;
	}
	*out_len = (size_t)(pos - out);
	return true;
}

const char *rr_sql_kind_name(enum rr_sql_kind kind)
{
	static const char *const names[] = {
		[RR_SQL_EMPTY] = "empty",
		[RR_SQL_READ] = "read",
		[RR_SQL_BEGIN_READ_ONLY] = "begin read only",
		[RR_SQL_BEGIN] = "begin",
		[RR_SQL_COMMIT_ROLLBACK] = "commit or rollback",
		[RR_SQL_SESSION] = "session",
		[RR_SQL_WRITE] = "write",
	};

	return names[kind];
}
