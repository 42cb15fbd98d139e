/*
 * Query routing and rewriting: what its own files share.
 */
#include "rr_py.h"
#include "rr_sql.h"

enum { RR_BUILTIN_OFF, RR_BUILTIN_READWRITE };
enum { RR_CACHE_OFF, RR_CACHE_EXACT, RR_CACHE_FINGERPRINT };
enum { RR_FAILURE_HOME, RR_FAILURE_DISCONNECT };
enum { RR_RYW_OFF, RR_RYW_TIME, RR_RYW_LSN };
enum { RR_SCOPE_CLIENT, RR_SCOPE_USER, RR_SCOPE_DATABASE };

/*
 * Who must see which writes.  One for each client, or each user and primary,
 * or each primary, by routing_read_your_writes_scope.
 */
struct RRScope {
	struct List pending_node;	/* in the primary's list while a sample is wanted */
	struct RRTarget *primary;
	unsigned in_flight;		/* writes sent and not yet answered */
	uint64_t write_no;		/* moment of the last answered write, 0 if none */
	usec_t write_time;
	uint64_t lsn;			/* where the primary was after that write; 0 if not yet known */
	unsigned history;		/* the primary's history that lsn belongs to */
};

/* a rewritten statement that waits for its message's turn */
struct RRText {
	struct List node;
	bool same;			/* leave the message as it is */
	size_t len;
	char text[FLEX_ARRAY];
};

/* What routing knows of a client. */
struct RRClient {
	PgPool *home;			/* while away: the pool to go back to */
	char current[MAX_DBNAME];	/* where the last unit was sent; empty is home */
	char unnamed[MAX_DBNAME];	/* where the last unnamed statement was parsed */
	bool unnamed_reads;		/* it only reads */
	bool kind_known;		/* the next message's text is of this kind */
	enum rr_sql_kind kind;

	struct RRTarget *replica;	/* the replica that it stays on */
	uint64_t replica_no;		/* moment of its last answer from there */
	uint64_t floor_no;		/* floor counts for answers up to this moment */
	uint64_t floor;			/* it has seen a replica at this LSN at most */
	unsigned floor_history;

	struct RRScope scope;
	struct List texts;		/* rewritten, not yet sent */
	char *parse;			/* the rewritten Parse that is being handled */

	struct MBuf ahead;		/* received, but not yet in the socket's buffer */
	const SBufIO *below;		/* the socket's own operations meanwhile */
};

/* a database whose health is watched, or that was drained */
struct RRTarget;
struct RRGroup;

struct RRStats {
	uint64_t home;			/* units sent home */
	uint64_t away;			/* units sent elsewhere */
	uint64_t waits;			/* pipelined units that waited for another pool's answer */
	uint64_t rehomed;		/* clients taken out of the queue of a dead target */
	uint64_t unit_incomplete;	/* home: its Sync was not here, or not all of it was readable */
	uint64_t unit_disagrees;	/* home: its statements want different targets */
	uint64_t too_long;		/* home: past routing_max_query */
	uint64_t target_unusable;	/* home: the target could not be used */
	uint64_t no_replica;		/* home: no replica of the group is well */
	uint64_t unseen_write;		/* home: no replica has what the client must see */
	uint64_t calls;			/* calls of routing_rules */
	uint64_t call_time;		/* in microseconds */
	uint64_t call_time_max;
	uint64_t slow_calls;
	uint64_t failures;		/* it raised, returned a wrong type or an unknown key */
	uint64_t cache_hits;
	uint64_t cache_misses;
	uint64_t cache_bytes;
	uint64_t rewrites;		/* calls of rewrite_query */
	uint64_t rewritten;		/* texts that it changed */
	uint64_t rewrite_failures;
	uint64_t reload_failures;
};
extern struct RRStats rr_stats;

/* one moment after another, for what must have happened before or after */
extern uint64_t rr_moment;

/* counts, and logs at most once a second for each struct */
struct RRLogLimit {
	usec_t last;
	uint64_t skipped;
};
void rr_log(struct RRLogLimit *limit, PgSocket *sk, const char *fmt, ...) _PRINTF(3, 4);

/* rr_rules.c */
enum rr_verdict { RR_GO_HOME, RR_GO_CURRENT, RR_GO_TARGET, RR_GO_FAILED };
enum rr_py_result rr_call(PgSocket *client, enum rr_py_slot slot, const char *text, size_t len, bool in_transaction,
			  const char **res, size_t *reslen, char *err, size_t errlen, usec_t *spent);
enum rr_verdict rr_ask_rules(PgSocket *client, const char *text, size_t len, bool in_transaction,
			     char target[MAX_DBNAME]);
enum rr_sql_kind rr_classify(PgSocket *client, const char *text, size_t len);
enum rr_sql_kind rr_classify_statement(PgSocket *client, PgPreparedStatement *ps);
bool rr_rules_load(void);
extern bool rr_routing_on, rr_rewrite_on, rr_rules_on;

/* rr_rewrite.c */
struct RRText *rr_rewritten(PgSocket *client, unsigned nr, const char *text, size_t len);
bool rr_rewrite_first(PgSocket *client, PktHdr *pkt) _MUSTCHECK;
bool rr_rewrite_message(PgSocket *client, PktHdr *pkt, bool *done) _MUSTCHECK;
void rr_texts_free(struct RRClient *rr);

/* rr_ahead.c */
bool rr_unit_rest(PgSocket *client, size_t skip, const uint8_t **rest, size_t *len, uint8_t **copy) _MUSTCHECK;

/* rr_route.c */
struct RRClient *rr_client(PgSocket *client);

/* rr_health.c */
void rr_health_start(void);
void rr_groups_end(void);
bool rr_set_drained(const char *database, bool drained);
struct RRGroup *rr_find_group(const char *name);
struct RRGroup *rr_group_of_primary(const char *database);
PgDatabase *rr_pick_replica(PgSocket *client, struct RRGroup *group);
void rr_left_replica(PgSocket *client, const char *database);
bool rr_is_drained(const char *database);
bool rr_is_down(const char *database);
const char *rr_group_name(const struct RRGroup *group);
struct RRScope *rr_scope_for(PgSocket *client, PgDatabase *db);
void rr_write_sent(PgSocket *server, struct RRScope *scope);
void rr_scope_forget(struct RRScope *scope);
