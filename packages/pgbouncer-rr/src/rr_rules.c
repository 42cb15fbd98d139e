/*
 * What decides: the site's rules in Python, with a cache of their answers,
 * and the builtin classification.  Also all settings, and their (re)loading.
 */
#include "bouncer.h"
#include "rr_int.h"

#include <usual/time.h>
#include <time.h>

int cf_routing_builtin;
int cf_routing_begin_read_only;
int cf_routing_cache;
int cf_routing_cache_size;
char *cf_routing_check_connstr;
usec_t cf_routing_check_period;
usec_t cf_routing_check_timeout;
usec_t cf_routing_max_lag;
unsigned int cf_routing_max_query;
int cf_routing_on_failure;
char *cf_routing_read_functions;
int cf_routing_read_your_writes;
int cf_routing_read_your_writes_scope;
usec_t cf_routing_read_your_writes_time;
int cf_routing_require_recovery;
char *cf_routing_rules_py_module_file;
usec_t cf_routing_slow_call;
int cf_rewrite_query_disconnect_on_failure;
char *cf_rewrite_query_py_module_file;
unsigned int cf_rewrite_max_query;

bool rr_active;
bool rr_routing_on, rr_rewrite_on, rr_rules_on;

const struct CfLookup rr_bool_map[] = {
	{ "0", 0 }, { "1", 1 },
	{ "false", 0 }, { "true", 1 },
	{ "off", 0 }, { "on", 1 },
	{ "no", 0 }, { "yes", 1 },
	{ NULL }
};

const struct CfLookup rr_builtin_map[] = {
	{ "off", RR_BUILTIN_OFF },
	{ "readwrite", RR_BUILTIN_READWRITE },
	{ NULL }
};

const struct CfLookup rr_cache_map[] = {
	{ "off", RR_CACHE_OFF },
	{ "exact", RR_CACHE_EXACT },
	{ "fingerprint", RR_CACHE_FINGERPRINT },
	{ NULL }
};

const struct CfLookup rr_on_failure_map[] = {
	{ "home", RR_FAILURE_HOME },
	{ "disconnect", RR_FAILURE_DISCONNECT },
	{ NULL }
};

const struct CfLookup rr_ryw_map[] = {
	{ "off", RR_RYW_OFF },
	{ "time", RR_RYW_TIME },
	{ "lsn", RR_RYW_LSN },
	{ NULL }
};

const struct CfLookup rr_ryw_scope_map[] = {
	{ "client", RR_SCOPE_CLIENT },
	{ "user", RR_SCOPE_USER },
	{ "database", RR_SCOPE_DATABASE },
	{ NULL }
};

static struct rr_sql_functions *read_functions;

/* changes with every load: what was classified before may be classified otherwise now */
static uint32_t classify_stamp;

/*
 * Cache of the rules' answers, by text.  With fingerprints an answer is kept
 * twice: by the fingerprint, and by the text's shape, which is found sooner.
 */
struct CacheEntry {
	UT_hash_handle hh;
	bool used;
	enum rr_verdict verdict;
	char target[MAX_DBNAME];
	unsigned key_len;
	char key[];
};

static struct CacheEntry *cache;

/* the longest text that is worth a place in it */
#define MAX_CACHED_TEXT 16384

/* the same for the classifier's memory, and how many it has */
#define MAX_SHAPE 1016
#define SHAPES 1024

static size_t cache_entry_size(const struct CacheEntry *entry)
{
	return sizeof(*entry) + entry->key_len;
}

static void cache_drop(struct CacheEntry *entry)
{
	HASH_DEL(cache, entry);
	rr_stats.cache_bytes -= cache_entry_size(entry);
	free(entry);
}

static void cache_clear(void)
{
	struct CacheEntry *entry, *tmp;

	HASH_ITER(hh, cache, entry, tmp) {
		cache_drop(entry);
	}
}

static struct CacheEntry *cache_find(const char *key, unsigned key_len)
{
	struct CacheEntry *entry;

	HASH_FIND(hh, cache, key, key_len, entry);
	if (entry)
		entry->used = true;
	return entry;
}

/* The one that was not used for longest, roughly: what was used since it came here gets another turn. */
static void cache_drop_one(void)
{
	struct CacheEntry *entry;

	while (cache->used && cache->hh.next) {
		entry = cache;
		entry->used = false;
		HASH_DEL(cache, entry);
		HASH_ADD_KEYPTR(hh, cache, entry->key, entry->key_len, entry);
	}
	cache_drop(cache);
}

static void cache_add(const char *key, unsigned key_len, enum rr_verdict verdict, const char *target)
{
	struct CacheEntry *entry;

	if (key_len == 0 || (int64_t)(sizeof(*entry) + key_len) > cf_routing_cache_size)
		return;
	entry = malloc(sizeof(*entry) + key_len);
	if (!entry)
		return;
	entry->used = false;
	entry->verdict = verdict;
	memcpy(entry->target, target, MAX_DBNAME);
	entry->key_len = key_len;
	memcpy(entry->key, key, key_len);
	rr_stats.cache_bytes += cache_entry_size(entry);
	HASH_ADD_KEYPTR(hh, cache, entry->key, key_len, entry);
	while (rr_stats.cache_bytes > (uint64_t)cf_routing_cache_size)
		cache_drop_one();
}

/* what the client's settings say about its texts */
static void client_options(PgSocket *client, struct rr_sql_options *options)
{
	const struct PStr *encoding = client->vars.var_list[VClientEncoding];
	const struct PStr *strings = client->vars.var_list[VStdStr];

	options->encoding = rr_sql_encoding(encoding ? encoding->str : "");
	options->standard_conforming_strings = strings && strcmp(strings->str, "on") == 0;
	options->read_functions = read_functions;
}

/* what the settings make of a text, for comparing */
static uint32_t stamp_of(const struct rr_sql_options *options)
{
	return classify_stamp | (options->encoding << 1) | options->standard_conforming_strings;
}

/*
 * What texts of some shapes are: most clients send few, which differ in numbers
 * only.  Each has one place, by its hash.
 */
struct Shape {
	uint32_t stamp;
	uint16_t len;
	uint8_t kind;
	char text[MAX_SHAPE];
};

static struct Shape shapes[SHAPES];

static struct Shape *shape_place(const char *text, size_t len)
{
	uint64_t hash = len, block;

	for (; len >= sizeof(block); len -= sizeof(block), text += sizeof(block)) {
		memcpy(&block, text, sizeof(block));
		hash = (hash ^ block) * UINT64_C(0x9E3779B97F4A7C15);
		hash ^= hash >> 32;
	}
	block = 0;
	memcpy(&block, text, len);
	hash = (hash ^ block) * UINT64_C(0x9E3779B97F4A7C15);
	return &shapes[(hash >> 32) % SHAPES];
}

enum rr_sql_kind rr_classify(PgSocket *client, const char *text, size_t len)
{
	struct rr_sql_options options;
	struct rr_sql_result result;
	struct Shape *shape = NULL;
	char shape_text[MAX_SHAPE];
	size_t shape_len = 0;
	uint32_t stamp;

	if (len > cf_routing_max_query)
		return RR_SQL_WRITE;
	client_options(client, &options);
	stamp = stamp_of(&options);
	if (len <= MAX_SHAPE)
		shape_len = rr_sql_shape(text, len, shape_text);
	if (shape_len) {
		shape = shape_place(shape_text, shape_len);
		if (shape->stamp == stamp && shape->len == shape_len && memcmp(shape->text, shape_text, shape_len) == 0)
			return shape->kind;
	}
	rr_sql_classify(text, len, &options, &result);
	if (result.reason)
		slog_noise(client, "routing: %s: %s", rr_sql_kind_name(result.kind), result.reason);
	if (shape) {
		shape->stamp = stamp;
		shape->len = shape_len;
		shape->kind = result.kind;
		memcpy(shape->text, shape_text, shape_len);
	}
	return result.kind;
}

/* the same for a prepared statement, which remembers it */
enum rr_sql_kind rr_classify_statement(PgSocket *client, PgPreparedStatement *ps)
{
	struct rr_sql_options options;
	uint32_t stamp;

	client_options(client, &options);
	stamp = stamp_of(&options);
	if (ps->rr_stamp != stamp) {
		ps->rr_kind = rr_classify(client, ps->query_and_parameters, strlen(ps->query_and_parameters));
		ps->rr_stamp = stamp;
	}
	return ps->rr_kind;
}

enum cache_by { BY_TEXT = 't', BY_SHAPE = 's', BY_FINGERPRINT = 'f' };

#define MAX_CACHE_KEY (MAX_USERNAME + MAX_DBNAME + 4 + MAX_CACHED_TEXT)

/* Key of the cache: user, database, what the text means, the text.  0 if it has none. */
static unsigned cache_key(PgSocket *client, const char *text, size_t len, bool in_transaction,
			  enum cache_by by, char key[MAX_CACHE_KEY])
{
	const char *user = client->login_user_credentials->name;
	struct rr_sql_options options;
	size_t used, text_len = 0;

	if (len > MAX_CACHED_TEXT)
		return 0;
	client_options(client, &options);
	used = strlen(user) + 1;
	memcpy(key, user, used);
	memcpy(key + used, client->db->name, strlen(client->db->name) + 1);
	used += strlen(client->db->name) + 1;
	key[used++] = in_transaction;
	key[used++] = options.standard_conforming_strings;
	key[used++] = by;
	switch (by) {
	case BY_TEXT:
		memcpy(key + used, text, len);
		return used + len;
	case BY_SHAPE:
		text_len = rr_sql_shape(text, len, key + used);
		break;
	case BY_FINGERPRINT:
		if (!rr_sql_fingerprint(text, len, &options, key + used, &text_len))
			return 0;
		break;
	}
	return text_len ? used + text_len : 0;
}

static enum rr_verdict check_target(const char *res, size_t len, char target[MAX_DBNAME],
				    char *err, size_t errlen)
{
	PgDatabase *db;

	if (len < MAX_DBNAME) {
		memcpy(target, res, len);
		memset(target + len, 0, MAX_DBNAME - len);
		if (len && rr_find_group(target))
			return RR_GO_TARGET;
		db = len ? find_database(target) : NULL;
		if (db && !db->admin)
			return RR_GO_TARGET;
	}
	target[0] = 0;
	snprintf(err, errlen, "no such database: %.*s", (int)len, res);
	return RR_GO_FAILED;
}

static usec_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * USEC + ts.tv_nsec / 1000;
}

static const char *const function_names[RR_PY_SLOTS] = {
	[RR_PY_ROUTE] = "routing_rules",
	[RR_PY_REWRITE] = "rewrite_query",
};

/* rr_py_call for a client, while all others wait: counts and logs what takes too long. */
enum rr_py_result rr_call(PgSocket *client, enum rr_py_slot slot, const char *text, size_t len, bool in_transaction,
			  const char **res, size_t *reslen, char *err, size_t errlen, usec_t *spent)
{
	static struct RRLogLimit slow_limits[RR_PY_SLOTS];
	usec_t begun = clock_now();
	enum rr_py_result result = rr_py_call(slot, client->login_user_credentials->name, text, len, in_transaction,
					      res, reslen, err, errlen);

	*spent = clock_now() - begun;
	if (cf_routing_slow_call > 0 && *spent > cf_routing_slow_call) {
		rr_stats.slow_calls++;
		rr_log(&slow_limits[slot], client, "%s: took %" PRIu64 " ms, all clients waited",
		       function_names[slot], (uint64_t)*spent / 1000);
	}
	return result;
}

/*
 * Asks the site's rules.  target is set for RR_GO_TARGET and empty otherwise.
 */
enum rr_verdict rr_ask_rules(PgSocket *client, const char *text, size_t len, bool in_transaction,
			     char target[MAX_DBNAME])
{
	static struct RRLogLimit failed_limit;
	static char key[MAX_CACHE_KEY], fingerprint[MAX_CACHE_KEY];
	unsigned key_len = 0, fingerprint_len = 0;
	enum rr_verdict verdict = RR_GO_FAILED;
	struct CacheEntry *entry = NULL;
	const char *res;
	size_t reslen;
	char err[256];
	usec_t spent;

	memset(target, 0, MAX_DBNAME);
	if (cf_routing_cache != RR_CACHE_OFF) {
		if (cf_routing_cache == RR_CACHE_FINGERPRINT)
			key_len = cache_key(client, text, len, in_transaction, BY_SHAPE, key);
		if (!key_len)
			key_len = cache_key(client, text, len, in_transaction, BY_TEXT, key);
		entry = cache_find(key, key_len);
		if (!entry && cf_routing_cache == RR_CACHE_FINGERPRINT) {
			fingerprint_len = cache_key(client, text, len, in_transaction, BY_FINGERPRINT, fingerprint);
			entry = cache_find(fingerprint, fingerprint_len);
		}
		if (entry) {
			rr_stats.cache_hits++;
			memcpy(target, entry->target, MAX_DBNAME);
			verdict = entry->verdict;
			if (fingerprint_len)
				cache_add(key, key_len, verdict, target);
			return verdict;
		}
		rr_stats.cache_misses++;
	}

	switch (rr_call(client, RR_PY_ROUTE, text, len, in_transaction, &res, &reslen, err, sizeof(err), &spent)) {
	case RR_PY_NONE:
		verdict = RR_GO_CURRENT;
		break;
	case RR_PY_TEXT:
		verdict = check_target(res, reslen, target, err, sizeof(err));
		break;
	case RR_PY_FAILED:
		break;
	}

	rr_stats.calls++;
	rr_stats.call_time += spent;
	if (spent > rr_stats.call_time_max)
		rr_stats.call_time_max = spent;
	if (verdict == RR_GO_FAILED) {
		rr_stats.failures++;
		rr_log(&failed_limit, client, "routing_rules: %s", err);
	} else {
		cache_add(key, key_len, verdict, target);
		cache_add(fingerprint, fingerprint_len, verdict, target);
	}
	return verdict;
}

/* loads one rule file, or keeps the function it had */
static bool load_file(enum rr_py_slot slot, const char *file)
{
	const char *function = function_names[slot];
	char err[512];

	if (!file || !*file) {
		rr_py_unload(slot);
		return true;
	}
	if (rr_py_load(slot, file, function, err, sizeof(err))) {
		log_info("%s loaded from %s", function, file);
		return true;
	}
	log_error("cannot load %s from %s: %s%s", function, file, err,
		  rr_py_loaded(slot) ? "; keeping the old rules" : "");
	return false;
}

/* Loads all that the settings say.  False if something is wrong and the old is kept. */
bool rr_rules_load(void)
{
	struct rr_sql_functions *functions;
	const char *why;
	bool ok = true;

	ok &= load_file(RR_PY_ROUTE, cf_routing_rules_py_module_file);
	ok &= load_file(RR_PY_REWRITE, cf_rewrite_query_py_module_file);

	functions = rr_sql_functions_parse(cf_routing_read_functions ? cf_routing_read_functions : "", &why);
	if (functions) {
		rr_sql_functions_free(read_functions);
		read_functions = functions;
	} else {
		log_error("routing_read_functions: %s; keeping the old list", why);
		ok = false;
	}

	cache_clear();
	classify_stamp += 1 << 4;

	rr_rules_on = rr_py_loaded(RR_PY_ROUTE);
	rr_rewrite_on = rr_py_loaded(RR_PY_REWRITE);
	rr_routing_on = rr_rules_on || cf_routing_builtin != RR_BUILTIN_OFF;
	rr_active = rr_routing_on || rr_rewrite_on;
	return ok;
}
