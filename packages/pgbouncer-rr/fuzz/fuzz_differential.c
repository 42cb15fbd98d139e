/*
 * libFuzzer target: what the classifier takes for a read must be one by PostgreSQL's own grammar.
 *
 * The judge's tree is JSON text, in which no string can hold a bare quote: so to find "key": is to find that key.
 */
#include "rr_sql.c"

#include <pg_query.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const writing_nodes[] = {
	"\"InsertStmt\":", "\"UpdateStmt\":", "\"DeleteStmt\":", "\"MergeStmt\":", "\"intoClause\":", "\"lockingClause\":",
};

/* the list of names at P: {"String":{"sval":"pg_catalog"}},{"String":{"sval":"count"}}] */
static bool reading_function(const char *p, bool sample)
{
	static const char prefix[] = "{\"String\":{\"sval\":\"";
	const struct rr_word *word;
	size_t len;

	for (int part = 0;; part++) {
		if (strncmp(p, prefix, sizeof(prefix) - 1) != 0)
			return false;
		p += sizeof(prefix) - 1;
		len = strcspn(p, "\"\\");
		if (strncmp(p + len, "\"}}", 3) != 0)
			return false;
		if (p[len + 3] == ']')
			break;
		if (part > 0 || len != 10 || strncmp(p, "pg_catalog", 10) != 0)
			return false;
		p += len + 4;
	}
	if (sample)
		return (len == 9 && strncmp(p, "bernoulli", 9) == 0) || (len == 6 && strncmp(p, "system", 6) == 0);
	word = find_word(p, len);
	return word && (word->flags & RR_WORD_FUNCTION);
}

static bool reading_functions(const char *tree, const char *key, bool sample)
{
	for (const char *p = strstr(tree, key); p; p = strstr(p, key)) {
		p += strlen(key);
		if (!reading_function(p, sample))
			return false;
	}
	return true;
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_read(const char *tree)
{
	static const char first[] = "\"stmts\":[{\"stmt\":{";
	const char *stmt = strstr(tree, first);

	if (!stmt)
		return false;
	stmt += sizeof(first) - 1;
	if (strstr(stmt, "{\"stmt\":{"))
		return false;
	if (has_prefix(stmt, "\"CopyStmt\":")) {
		if (strstr(stmt, "\"is_from\":true") || strstr(stmt, "\"is_program\":true") || strstr(stmt, "\"filename\":"))
			return false;
	} else if (!has_prefix(stmt, "\"SelectStmt\":") && !has_prefix(stmt, "\"ExplainStmt\":{\"query\":{\"SelectStmt\":")) {
		return false;
	}
	for (size_t i = 0; i < sizeof(writing_nodes) / sizeof(writing_nodes[0]); i++) {
		if (strstr(stmt, writing_nodes[i]))
			return false;
	}
	return reading_functions(stmt, "\"FuncCall\":{\"funcname\":[", false)
	       && reading_functions(stmt, "\"method\":[", true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rr_sql_options options = { .encoding = RR_SQL_ENC_UTF8, .standard_conforming_strings = true };
	struct rr_sql_result result;
	PgQueryParseResult parsed;
	char *sql;

	if (memchr(data, 0, size))
		return 0;
	sql = malloc(size + 1);
	memcpy(sql, data, size);
	sql[size] = 0;
	rr_sql_classify(sql, size, &options, &result);
	if (result.kind == RR_SQL_READ) {
		parsed = pg_query_parse(sql);
		if (!parsed.error && !is_read(parsed.parse_tree)) {
			fprintf(stderr, "taken for a read: %s\n%s\n", sql, parsed.parse_tree);
			abort();
		}
		pg_query_free_parse_result(parsed);
	}
	free(sql);
	return 0;
}
