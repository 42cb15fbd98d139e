/*
 * libFuzzer target: memory safety of the classifier and the promises of rr_sql.h that need no grammar.
 */
#include "rr_sql.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(bool condition)
{
	if (!condition)
		abort();
}

static struct rr_sql_result classify(const char *sql, size_t len, const struct rr_sql_options *options)
{
	struct rr_sql_result result;

	rr_sql_classify(sql, len, options, &result);
	require((result.kind == RR_SQL_WRITE) == (result.reason != NULL));
	require(result.offset <= len && result.length <= len - result.offset);
	require(strlen(rr_sql_kind_name(result.kind)) > 0);
	return result;
}

/* The first byte chooses the options; the rest is the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rr_sql_functions *functions;
	struct rr_sql_options options;
	struct rr_sql_result result, again;
	const char *error;
	char *sql, *folded, *twice;
	size_t len, folded_len, twice_len;

	if (size == 0)
		return 0;
	if (functions == NULL)
		functions = rr_sql_functions_parse("f, s.f", &error);
	options.encoding = data[0] % 3;
	options.standard_conforming_strings = !(data[0] & 4);
	options.read_functions = data[0] & 8 ? functions : NULL;

	/* Exact sizes, so that a byte too far is seen. */
	len = size - 1;
	sql = malloc(len);
	folded = malloc(len);
	twice = malloc(len);
	memcpy(sql, data + 1, len);
	result = classify(sql, len, &options);
	if (!options.standard_conforming_strings)
		require(result.kind != RR_SQL_READ);
	if (rr_sql_fingerprint(sql, len, &options, folded, &folded_len)) {
		require(folded_len <= len);
		/* Old strings have no spelling that they would fold to. */
		if (options.standard_conforming_strings) {
			again = classify(folded, folded_len, &options);
			require(again.kind == result.kind && again.reason == result.reason);
			require(rr_sql_fingerprint(folded, folded_len, &options, twice, &twice_len));
			require(twice_len == folded_len && memcmp(twice, folded, twice_len) == 0);
		}
	}
	twice_len = rr_sql_shape(sql, len, twice);
	require(twice_len <= len);
	if (twice_len > 0)
		require(classify(twice, twice_len, &options).kind == result.kind);
	free(twice);
	free(folded);
	free(sql);

	/* The same bytes as a list of functions and as the name of an encoding. */
	sql = calloc(1, size + 1);
	memcpy(sql, data, size);
	rr_sql_functions_free(rr_sql_functions_parse(sql, &error));
	rr_sql_encoding(sql);
	free(sql);
	return 0;
}
