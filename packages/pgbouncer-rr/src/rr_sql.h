/*
 * SQL text: is it a plain read, and which texts are the same but for their literals?
 *
 * Plain C11.  Knows nothing of PgBouncer or libpq, allocates nothing while it
 * classifies, never recurses, and takes time linear in the length of the text.
 *
 * The classifier reads tokens, not grammar.  It says RR_SQL_READ only when every
 * token is one it understands; text that PostgreSQL would refuse may get any answer.
 */
#ifndef RR_SQL_H
#define RR_SQL_H

#include <stdbool.h>
#include <stddef.h>

enum rr_sql_kind {
	RR_SQL_EMPTY,		/* no statement: white space, comments, semicolons */
	RR_SQL_READ,		/* one statement that a replica may answer */
	RR_SQL_BEGIN_READ_ONLY,	/* BEGIN or START TRANSACTION, READ ONLY, not SERIALIZABLE */
	RR_SQL_BEGIN,		/* any other BEGIN or START TRANSACTION */
	RR_SQL_COMMIT_ROLLBACK,	/* ends a transaction block and starts no other */
	RR_SQL_SESSION,		/* SET, RESET, SHOW: belongs to the session, writes no data */
	RR_SQL_WRITE,		/* a write, or anything doubtful */
};

/* What may be told from a client_encoding before the server has converted the text. */
enum rr_sql_encoding {
	RR_SQL_ENC_UTF8,	/* must be valid UTF-8 */
	RR_SQL_ENC_SINGLE_BYTE,	/* one byte a character, the lower half is ASCII */
	RR_SQL_ENC_ASCII_ONLY,	/* anything else: a byte above 127 makes the text doubtful */
};

/* A site's own functions that only read; made once from the configuration. */
struct rr_sql_functions;

struct rr_sql_options {
	enum rr_sql_encoding encoding;
	bool standard_conforming_strings;
	const struct rr_sql_functions *read_functions;	/* may be NULL */
};

struct rr_sql_result {
	enum rr_sql_kind kind;
	const char *reason;	/* RR_SQL_WRITE only: why, a constant phrase; else NULL */
	size_t offset;		/* the token that decided, as bytes of the text */
	size_t length;
};

/* The class of a value of client_encoding, as PostgreSQL reports or accepts it ("UTF8", "latin-1"). */
enum rr_sql_encoding rr_sql_encoding(const char *client_encoding);

/*
 * Reads a list of functions, separated by commas or white space, each "name" or "schema.name"
 * as PostgreSQL's catalogue spells it.  "name" allows the call without a schema, "schema.name" the
 * call with it.  Returns NULL if the list is malformed or memory ran out; *error then says which.
 */
struct rr_sql_functions *rr_sql_functions_parse(const char *list, const char **error);
void rr_sql_functions_free(struct rr_sql_functions *functions);

/* Classifies one text: the whole string of a Query or a Parse message, without its final zero byte. */
void rr_sql_classify(const char *sql, size_t len, const struct rr_sql_options *options,
		     struct rr_sql_result *result);

/*
 * Writes the text with its comments dropped, white space reduced, unquoted names in lower case, each
 * string as '' and each number as 0.  Never longer than the text, so `out` needs `len` bytes.  Texts
 * with equal fingerprints are classified alike under the same options.  False, and nothing to use
 * in `out`, if the text is not fully understood: such a text is only equal to itself.
 */
bool rr_sql_fingerprint(const char *sql, size_t len, const struct rr_sql_options *options,
			char *out, size_t *out_len);

/*
 * Writes the text with each run of digits that is no part of a name as one 0; `out` needs `len` bytes.
 * Much cheaper than a fingerprint.  Texts of equal shapes are classified alike under the same options,
 * and have equal fingerprints.  Returns the length, 0 if the text has none: it is empty, or a quoted
 * name is in it beside a comment, a backslash or a dollar-quoted string.
 */
size_t rr_sql_shape(const char *sql, size_t len, char *out);

/* "read", "write" ...: for logs and tools. */
const char *rr_sql_kind_name(enum rr_sql_kind kind);

#endif
