/*
 * Query routing: which pool does a client's next unit of work go to?
 *
 * A unit is what ends with one ReadyForQuery: a Query or FunctionCall message,
 * or the extended-protocol messages up to a Sync.  Units are the only thing
 * that is routed, and only outside of transactions.  A client is in another
 * pool than its own only while such a unit waits for a server or runs on it;
 * then it goes home.
 */
#include "bouncer.h"
#include "rr_int.h"

#include <stdarg.h>

/* more statements in one unit than this go home unread */
#define MAX_UNIT_PARSES 64

struct RRStats rr_stats;
uint64_t rr_moment;
bool rr_rehome_needed;

/* where a unit is to go; an empty target is home */
struct Judgement {
	char target[MAX_DBNAME];
	bool known;
};

void rr_log(struct RRLogLimit *limit, PgSocket *sk, const char *fmt, ...)
{
	usec_t now = get_cached_time();
	char msg[512];
	va_list ap;

	if (now - limit->last < USEC) {
		limit->skipped++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (limit->skipped)
		slog_warning(sk, "%s (and %" PRIu64 " more like it)", msg, limit->skipped);
	else
		slog_warning(sk, "%s", msg);
	limit->last = now;
	limit->skipped = 0;
}

struct RRClient *rr_client(PgSocket *client)
{
	struct RRClient *rr = client->rr;

	if (!rr) {
		rr = calloc(1, sizeof(*rr));
		if (!rr) {
			disconnect_client(client, true, "out of memory");
			return NULL;
		}
		list_init(&rr->texts);
		list_init(&rr->scope.pending_node);
		client->rr = rr;
	}
	return rr;
}

void rr_client_free(PgSocket *client)
{
	rr_scope_forget(&client->rr->scope);
	rr_texts_free(client->rr);
	mbuf_free(&client->rr->ahead);
	free(client->rr->parse);
	free(client->rr);
	client->rr = NULL;
}

PgPool *rr_home_pool(PgSocket *client)
{
	return client->rr && client->rr->home ? client->rr->home : client->pool;
}

static void change_pool(PgSocket *client, PgPool *pool)
{
	if (client->state == CL_WAITING) {
		statlist_remove(&client->pool->waiting_client_list, &client->head);
		client->pool = pool;
		statlist_append(&pool->waiting_client_list, &client->head);
	} else {
		Assert(client->state == CL_ACTIVE);
		statlist_remove(&client->pool->active_client_list, &client->head);
		client->pool = pool;
		statlist_append(&pool->active_client_list, &client->head);
	}
}

static void go_home(PgSocket *client)
{
	PgPool *home = client->rr->home;

	client->rr->home = NULL;
	change_pool(client, home);
}

/* the client's unit has ended, and its server serves others */
void rr_released(PgSocket *client)
{
	if (!client->rr->home)
		return;
	rr_left_replica(client, client->pool->db->name);
	go_home(client);
}

static bool database_open(PgDatabase *db)
{
	return !db->admin && !db->fake && !db->db_dead && !db->db_disabled && !db->db_paused;
}

/*
 * The client's target refuses logins.  True if it can go on at home instead.
 */
bool rr_fall_back(PgSocket *client)
{
	if (!client->rr || !client->rr->home)
		return false;
	rr_stats.rehomed++;
	go_home(client);
	return true;
}

/*
 * Does the pool have a server, or may it soon?  A client sent to a pool that
 * cannot log in would only be thrown out, so none is; the pool is tried again
 * on its own.
 */
static bool pool_works(PgPool *pool)
{
	if (!pool->last_connect_failed && !pool->last_login_failed)
		return true;
	if (pool_server_count(pool) > statlist_count(&pool->new_server_list))
		return true;
	launch_new_connection(pool, /* evict_if_needed= */ true);
	return false;
}

static bool database_usable(PgDatabase *db)
{
	return database_open(db) && !rr_is_drained(db->name) && !rr_is_down(db->name);
}

static bool target_works(PgPool *pool)
{
	return database_usable(pool->db) && pool_works(pool);
}

/* Takes clients out of the queues of targets that cannot serve them any more. */
void rr_rehome_waiting(void)
{
	struct List *item, *citem, *tmp;

	rr_rehome_needed = false;
	statlist_for_each(item, &pool_list) {
		PgPool *pool = container_of(item, PgPool, head);

		if (pool->db->admin || statlist_empty(&pool->waiting_client_list))
			continue;
		if (target_works(pool))
			continue;
		statlist_for_each_safe(citem, &pool->waiting_client_list, tmp) {
			PgSocket *client = container_of(citem, PgSocket, head);

			if (client->rr && client->rr->home) {
				slog_debug(client, "routing: %s cannot serve, back to %s",
					   pool->db->name, client->rr->home->db->name);
				rr_stats.rehomed++;
				go_home(client);
			}
		}
	}
}

/*
 * The pool is about to be freed, with its clients and servers.  Clients that
 * only wait in it go home; those whose home it is are lost wherever they are.
 */
void rr_pool_gone(PgPool *gone)
{
	struct List *item, *citem, *tmp;

	statlist_for_each_safe(citem, &gone->waiting_client_list, tmp) {
		PgSocket *client = container_of(citem, PgSocket, head);

		if (client->rr && client->rr->home) {
			rr_stats.rehomed++;
			go_home(client);
		}
	}
	statlist_for_each(item, &pool_list) {
		PgPool *pool = container_of(item, PgPool, head);

		statlist_for_each_safe(citem, &pool->active_client_list, tmp) {
			PgSocket *client = container_of(citem, PgSocket, head);

			if (client->rr && client->rr->home == gone)
				disconnect_client(client, true, "database removed");
		}
		statlist_for_each_safe(citem, &pool->waiting_client_list, tmp) {
			PgSocket *client = container_of(citem, PgSocket, head);

			if (client->rr && client->rr->home == gone)
				disconnect_client(client, true, "database removed");
		}
	}
}

/*
 * Credentials for the client in another database's pools: those that the
 * client would have had if it had connected there itself.
 */
static PgCredentials *credentials_for(PgSocket *client, PgDatabase *db)
{
	PgCredentials *own = client->login_user_credentials;
	PgCredentials *there;
	struct AANode *node;
	PgPool *pool;

	if (db->forced_user_credentials)
		return db->forced_user_credentials;

	/* auth_type = any: the user is a property of the client's database */
	if (own == client->db->forced_user_credentials)
		return NULL;

	if (own == &own->global_user->credentials || cf_auth_type == AUTH_TYPE_PAM)
		return own;

	/*
	 * From auth_query: these live and die with the client's database, so
	 * the other one needs its own.  What is there already may come from
	 * its own auth_query, so it is only replaced if it is of no use.
	 */
	node = aatree_search(&db->user_tree, (uintptr_t)own->name);
	there = node ? container_of(node, PgCredentials, tree_node) : NULL;
	if (there && strcmp(there->passwd, own->passwd) != 0) {
		pool = get_pool(db, there);
		if (!pool || !pool->last_login_failed)
			return there;
		there = NULL;
	}
	if (!there) {
		there = add_dynamic_credentials(db, own->name, own->passwd);
		if (!there)
			return NULL;
		there->has_scram_keys = false;
	}
	if (own->has_scram_keys && !there->has_scram_keys) {
		memcpy(there->scram_ClientKey, own->scram_ClientKey, sizeof(there->scram_ClientKey));
		memcpy(there->scram_ServerKey, own->scram_ServerKey, sizeof(there->scram_ServerKey));
		there->has_scram_keys = true;
	}
	return there;
}

/*
 * The client has logged in by SCRAM.  With a forced user its keys were kept
 * for that user; other databases may need them for the client's own.
 */
void rr_login_keys(PgSocket *client)
{
	PgCredentials *own = client->login_user_credentials;

	if (own == client->pool->user_credentials)
		return;
	memcpy(own->scram_ClientKey, client->scram_state.ClientKey, sizeof(own->scram_ClientKey));
	memcpy(own->scram_ServerKey, client->scram_state.ServerKey, sizeof(own->scram_ServerKey));
	own->has_scram_keys = true;
}

/* The pool that the target stands for; the home pool if it cannot be used now. */
static PgPool *find_target_pool(PgSocket *client, const char *target)
{
	static struct RRLogLimit limit;
	PgPool *home = rr_home_pool(client);
	struct RRGroup *group;
	PgCredentials *credentials;
	PgDatabase *db;
	PgPool *pool;
	bool usable;

	if (!target[0])
		return home;

	group = rr_find_group(target);
	db = group ? rr_pick_replica(client, group) : find_database(target);
	if (!db)
		return home;
	if (db == client->db)
		return home;
	/* a replica that was picked is neither drained nor down */
	usable = group ? database_open(db) : database_usable(db);
	credentials = usable ? credentials_for(client, db) : NULL;
	pool = credentials ? get_pool(db, credentials) : NULL;

	/* a session that starts on a replica could never leave it */
	if (group && pool && probably_wrong_pool_pool_mode(pool) == POOL_SESSION) {
		rr_log(&limit, client, "routing: database %s of group %s has pool_mode session",
		       db->name, target);
		pool = NULL;
	}
	if (!pool || !pool_works(pool)) {
		rr_stats.target_unusable++;
		return home;
	}
	return pool;
}

static void verdict_failed(PgSocket *client)
{
	if (cf_routing_on_failure == RR_FAILURE_DISCONNECT)
		disconnect_client(client, true, "routing failed");
}

/*
 * Where one statement wants to go.  False if the client was disconnected.
 */
static bool judge_text(PgSocket *client, const char *text, size_t len, struct Judgement *one)
{
	struct RRClient *rr = client->rr;
	enum rr_verdict verdict = RR_GO_CURRENT;
	struct RRGroup *group;

	one->known = true;
	one->target[0] = 0;
	rr->kind_known = false;

	if (len > cf_routing_max_query) {
		rr_stats.too_long++;
		return true;
	}

	if (rr_rules_on) {
		verdict = rr_ask_rules(client, text, len, false, one->target);
		if (verdict == RR_GO_FAILED) {
			verdict_failed(client);
			return cf_routing_on_failure != RR_FAILURE_DISCONNECT;
		}
	}
	if (verdict == RR_GO_CURRENT) {
		if (cf_routing_builtin == RR_BUILTIN_READWRITE) {
			rr->kind = rr_classify(client, text, len);
			rr->kind_known = true;
			if (rr->kind == RR_SQL_READ
			    || (rr->kind == RR_SQL_BEGIN_READ_ONLY && cf_routing_begin_read_only)) {
				group = rr_group_of_primary(client->db->name);
				if (group)
					safe_strcpy(one->target, rr_group_name(group), sizeof(one->target));
			}
		} else {
			memcpy(one->target, rr->current, sizeof(one->target));
		}
	}
	if (strcmp(one->target, client->db->name) == 0)
		one->target[0] = 0;
	return true;
}

/* the same, for a statement that was parsed before */
static bool judge_statement(PgSocket *client, PgPreparedStatement *ps, struct Judgement *one)
{
	struct RRClient *rr = client->rr;
	struct RRGroup *group;

	if (rr_rules_on || cf_routing_builtin != RR_BUILTIN_READWRITE)
		return judge_text(client, ps->query_and_parameters, strlen(ps->query_and_parameters), one);

	one->known = true;
	one->target[0] = 0;
	rr->kind = rr_classify_statement(client, ps);
	rr->kind_known = true;
	if (rr->kind == RR_SQL_READ) {
		group = rr_group_of_primary(client->db->name);
		if (group)
			safe_strcpy(one->target, rr_group_name(group), sizeof(one->target));
	}
	return true;
}

/*
 * Where a Query wants to go.  False if the client was disconnected.
 */
static bool judge_query(PgSocket *client, PktHdr *pkt, struct Judgement *all)
{
	struct MBuf data = pkt->data;
	struct RRText *rewritten;
	const char *text;
	size_t len;

	if (incomplete_pkt(pkt)) {
		rr_stats.too_long++;
		return true;
	}
	if (!mbuf_get_string(&data, &text))
		return true;	/* the server will say what it thinks of this */
	len = strlen(text);
	if (rr_rewrite_on) {
		rewritten = rr_rewritten(client, 0, text, len);
		if (!rewritten)
			return false;
		if (!rewritten->same) {
			text = rewritten->text;
			len = rewritten->len;
		}
	}
	return judge_text(client, text, len, all);
}

/* one message of a unit, wholly in memory unless len_here is short */
struct Message {
	unsigned type;
	const char *body;
	size_t len_here;
	bool complete;
};

/* takes a zero-terminated string from a message; NULL if its end is not here */
static const char *take_string(struct Message *msg)
{
	const char *str = msg->body;
	const char *end = memchr(str, 0, msg->len_here);

	if (!end)
		return NULL;
	msg->len_here -= end + 1 - str;
	msg->body = end + 1;
	return str;
}

/* what the judging of a unit has seen so far */
struct Unit {
	struct Judgement all;
	enum { UNIT_GOES_ON, UNIT_ENDS, UNIT_HOME, UNIT_GONE } state;
	unsigned n_parsed;
	bool unnamed_parsed;
	bool unnamed_bound;
	bool first;
	enum rr_sql_kind first_kind;
	bool first_kind_known;
	const char **parsed;	/* names of its statements */
};

static void unit_home(struct Unit *unit, uint64_t *counter)
{
	if (counter)
		(*counter)++;
	unit->all.target[0] = 0;
	unit->state = UNIT_HOME;
}

static void unit_add(struct Unit *unit, const struct Judgement *one)
{
	if (!unit->all.known)
		unit->all = *one;
	else if (strcmp(unit->all.target, one->target) != 0)
		unit_home(unit, &rr_stats.unit_disagrees);
	if (unit->state == UNIT_GOES_ON && !one->target[0])
		unit_home(unit, NULL);
}

/* a transaction would begin elsewhere, and more of it follow than was judged */
static bool unit_begins(PgSocket *client, const struct Judgement *one, const char *text, size_t len)
{
	enum rr_sql_kind kind;

	if (!one->target[0])
		return false;
	kind = client->rr->kind_known ? client->rr->kind : rr_classify(client, text, len);
	return kind == RR_SQL_BEGIN || kind == RR_SQL_BEGIN_READ_ONLY;
}

static void unit_parse(PgSocket *client, struct Unit *unit, struct Message *msg)
{
	struct Judgement one = { .known = false };
	struct RRText *rewritten;
	const char *name, *text;
	size_t len;

	name = take_string(msg);
	text = name ? take_string(msg) : NULL;
	if (!text || !msg->complete || unit->n_parsed == MAX_UNIT_PARSES) {
		unit_home(unit, &rr_stats.unit_incomplete);
		return;
	}
	/* without tracking, a named statement lives on one server only */
	if (*name && !is_prepared_statements_enabled(client)) {
		unit_home(unit, NULL);
		return;
	}
	len = strlen(text);
	if (rr_rewrite_on) {
		rewritten = rr_rewritten(client, unit->n_parsed, text, len);
		if (!rewritten) {
			unit->state = UNIT_GONE;
			return;
		}
		if (!rewritten->same) {
			text = rewritten->text;
			len = rewritten->len;
		}
	}
	unit->parsed[unit->n_parsed++] = name;
	if (!*name) {
		unit->unnamed_parsed = true;
		unit->unnamed_bound = false;
	}

	if (!judge_text(client, text, len, &one))
		unit->state = UNIT_GONE;
	else if (unit_begins(client, &one, text, len))
		unit_home(unit, NULL);
	else
		unit_add(unit, &one);
}

/* a Bind, or the Describe of a statement */
static void unit_use(PgSocket *client, struct Unit *unit, const char *name, bool bind)
{
	struct Judgement one = { .known = true };
	PgPreparedStatement *ps;

	for (unsigned i = 0; i < unit->n_parsed; i++) {
		if (strcmp(unit->parsed[i], name) == 0) {
			if (!*name && bind)
				unit->unnamed_bound = true;
			return;
		}
	}
	if (!*name) {
		/* nobody can move it: it lives where it was parsed */
		memcpy(one.target, client->rr->unnamed, sizeof(one.target));
		client->rr->kind_known = false;
		unit_add(unit, &one);
		return;
	}
	ps = is_prepared_statements_enabled(client) ? find_client_prepared_statement(client, name) : NULL;
	if (!ps)
		unit_home(unit, NULL);
	else if (!judge_statement(client, ps, &one))
		unit->state = UNIT_GONE;
	else if (unit_begins(client, &one, ps->query_and_parameters, strlen(ps->query_and_parameters)))
		unit_home(unit, NULL);
	else
		unit_add(unit, &one);
}

static void unit_message(PgSocket *client, struct Unit *unit, struct Message *msg)
{
	const char *name;

	switch (msg->type) {
	case PqMsg_Parse:
		unit_parse(client, unit, msg);
		break;
	case PqMsg_Bind:
		name = take_string(msg) ? take_string(msg) : NULL;
		if (name)
			unit_use(client, unit, name, true);
		else
			unit_home(unit, &rr_stats.unit_incomplete);
		break;
	case PqMsg_Describe:
		if (msg->len_here < 1) {
			unit_home(unit, &rr_stats.unit_incomplete);
		} else if (*msg->body == 'S') {
			msg->body++;
			msg->len_here--;
			name = take_string(msg);
			if (name)
				unit_use(client, unit, name, false);
			else
				unit_home(unit, &rr_stats.unit_incomplete);
		} else if (unit->first) {
			unit_home(unit, NULL);	/* a portal of an earlier unit */
		}
		break;
	case PqMsg_Execute:
		if (unit->first)
			unit_home(unit, NULL);
		break;
	case PqMsg_Close:
		if (unit->first)
			unit_home(unit, NULL);
		break;
	case PqMsg_Flush:
		break;
	case PqMsg_Sync:
		/* a statement to be bound later: let the unit of its Bind find it at home */
		if (unit->unnamed_parsed && !unit->unnamed_bound)
			unit_home(unit, NULL);
		else
			unit->state = UNIT_ENDS;
		break;
	default:
		unit_home(unit, NULL);
		break;
	}
}

/*
 * Where an extended-protocol unit wants to go: all its statements must agree,
 * which needs its Sync to be here.  PKT is its first message.  False if the
 * client was disconnected.
 */
static bool judge_unit(PgSocket *client, PktHdr *pkt, struct Judgement *all)
{
	const char *parsed[MAX_UNIT_PARSES];
	struct Unit unit = { .first = true, .parsed = parsed };
	struct Message msg;
	const uint8_t *p = NULL;
	uint8_t *copy = NULL;
	size_t first_len, len = 0;

	msg.type = pkt->type;
	msg.body = (const char *)pkt->data.data + NEW_HEADER_LEN;
	msg.len_here = mbuf_written(&pkt->data);
	if (msg.len_here > pkt->len)
		msg.len_here = pkt->len;
	msg.len_here -= NEW_HEADER_LEN;
	msg.complete = !incomplete_pkt(pkt);
	unit_message(client, &unit, &msg);
	unit.first = false;
	unit.first_kind = client->rr->kind;
	unit.first_kind_known = client->rr->kind_known;

	if (unit.state == UNIT_GOES_ON) {
		first_len = client->packet_cb_state.flag == CB_HANDLE_COMPLETE_PACKET
			    ? client->sbuf.pkt_remain : pkt->len;
		if (!rr_unit_rest(client, first_len, &p, &len, &copy))
			unit_home(&unit, &rr_stats.unit_incomplete);
	}
	msg.complete = true;
	while (unit.state == UNIT_GOES_ON) {
		size_t total = 1 + (((size_t)p[1] << 24) | ((size_t)p[2] << 16) | ((size_t)p[3] << 8) | p[4]);

		Assert(total <= len);
		msg.type = p[0];
		msg.body = (const char *)p + NEW_HEADER_LEN;
		msg.len_here = total - NEW_HEADER_LEN;
		unit_message(client, &unit, &msg);
		p += total;
		len -= total;
	}
	free(copy);
	client->rr->kind = unit.first_kind;
	client->rr->kind_known = unit.first_kind_known;
	if (unit.state == UNIT_GONE)
		return false;
	if (unit.state == UNIT_ENDS)
		*all = unit.all;
	return true;
}

static bool starts_unit(unsigned type)
{
	switch (type) {
	case PqMsg_Query:
	case PqMsg_FunctionCall:
	case PqMsg_Parse:
	case PqMsg_Bind:
	case PqMsg_Describe:
	case PqMsg_Execute:
	case PqMsg_Close:
		return true;
	default:
		return false;
	}
}

/* a rule that takes in_transaction hears of statements inside too, though they stay where they are */
static bool tell_rules(PgSocket *client, PktHdr *pkt)
{
	struct MBuf data = pkt->data;
	char target[MAX_DBNAME];
	const char *name, *text;

	if (pkt->type != PqMsg_Query && pkt->type != PqMsg_Parse)
		return true;
	if (incomplete_pkt(pkt) || (pkt->type == PqMsg_Parse && !mbuf_get_string(&data, &name)))
		return true;
	if (!mbuf_get_string(&data, &text))
		return true;
	if (rr_rewrite_on) {
		struct RRText *rewritten = rr_rewritten(client, 0, text, strlen(text));

		if (!rewritten)
			return false;
		if (!rewritten->same)
			text = rewritten->text;
	}
	if (strlen(text) > cf_routing_max_query)
		return true;
	if (rr_ask_rules(client, text, strlen(text), true, target) == RR_GO_FAILED) {
		verdict_failed(client);
		return cf_routing_on_failure != RR_FAILURE_DISCONNECT;
	}
	return true;
}

bool rr_want_full_packet(PgSocket *client, PktHdr *pkt)
{
	unsigned limit = 0;

	if (pkt->type != PqMsg_Query && pkt->type != PqMsg_Parse)
		return false;
	if (client->pool->db->admin || client->replication)
		return false;
	if (rr_routing_on)
		limit = cf_routing_max_query;
	if (rr_rewrite_on && cf_rewrite_max_query > limit)
		limit = cf_rewrite_max_query;
	return pkt->len <= limit;
}

/*
 * Called for each message, before it looks for a server.  False: not now, or
 * the client is gone.
 */
bool rr_route(PgSocket *client, PktHdr *pkt, bool tracked)
{
	PgSocket *server = client->link;
	struct Judgement judgement = { .known = false };
	struct RRClient *rr;
	PgPool *pool;

	if (!rr_routing_on || !starts_unit(pkt->type))
		return true;
	if (client->pool->db->admin || client->replication || client->state != CL_ACTIVE)
		return true;
	rr = rr_client(client);
	if (!rr)
		return false;

	if (server) {
		if (client->rr_in_unit || server->copy_mode || connection_pool_mode(server) == POOL_SESSION)
			return true;
		if (!server->ready && statlist_empty(&server->outstanding_requests)) {
			/* in a transaction, or just linked for this message */
			if (server->idle_tx && rr_rules_on && rr_py_takes_three(RR_PY_ROUTE))
				return tell_rules(client, pkt);
			return true;
		}
	} else if (client->rr_decided) {
		/* it had to wait, and all may be different now */
		if (rr->home && !target_works(client->pool)) {
			rr_stats.rehomed++;
			go_home(client);
		}
		return true;
	}

	if (pkt->type == PqMsg_Query) {
		if (!judge_query(client, pkt, &judgement))
			return false;
	} else if (pkt->type != PqMsg_FunctionCall) {
		if (!judge_unit(client, pkt, &judgement))
			return false;
	}
	pool = find_target_pool(client, judgement.target);
	if (!pool) {
		disconnect_client(client, true, "out of memory");
		return false;
	}

	if (server && pool != server->pool) {
		/*
		 * Pipelined.  The earlier units must be answered first: to keep
		 * the order, and because they may open a transaction.
		 */
		if (!sbuf_flush(&client->sbuf))
			return false;
		rr_stats.waits++;
		client->rr_wait = true;
		if (!sbuf_pause(&client->sbuf))
			disconnect_client(client, true, "pause failed");
		return false;
	}

	if (pool == rr_home_pool(client)) {
		rr_stats.home++;
		/* what None keeps is where the rules sent it, not where a failure did */
		if (!judgement.target[0])
			rr->current[0] = 0;
	} else {
		rr_stats.away++;
	}
	if (judgement.target[0])
		memcpy(rr->current, judgement.target, sizeof(rr->current));
	if (server)
		return true;

	client->rr_decided = true;
	if (pool != client->pool) {
		slog_debug(client, "routing: %s -> %s", client->pool->db->name, pool->db->name);
		rr->home = client->pool;
		change_pool(client, pool);
	}
	return true;
}

/* the answer that a pipelined unit waited for has come */
void rr_continue(PgSocket *client)
{
	client->rr_wait = false;
	if (client->state == CL_ACTIVE && !sbuf_is_closed(&client->sbuf) && client->sbuf.wait_type == 0)
		sbuf_continue(&client->sbuf);
}

static bool may_write(unsigned type)
{
	return type == PqMsg_Query || type == PqMsg_Parse || type == PqMsg_Bind || type == PqMsg_FunctionCall;
}

/* does this message write, as far as can be seen? */
static bool message_writes(PgSocket *client, PktHdr *pkt, bool tracked)
{
	struct RRClient *rr = client->rr;
	struct MBuf data = pkt->data;
	PgPreparedStatement *ps;
	enum rr_sql_kind kind;
	const char *name = "", *text;

	switch (pkt->type) {
	case PqMsg_Query:
	case PqMsg_Parse:
		if (rr->kind_known) {
			kind = rr->kind;
		} else {
			if (incomplete_pkt(pkt) || (pkt->type == PqMsg_Parse && !mbuf_get_string(&data, &name))
			    || !mbuf_get_string(&data, &text))
				return true;
			if (!list_empty(&rr->texts)) {
				struct RRText *first = container_of(rr->texts.next, struct RRText, node);

				if (!first->same)
					text = first->text;
			}
			kind = rr_classify(client, text, strlen(text));
		}
		return kind == RR_SQL_WRITE;
	case PqMsg_Bind:
		if (!mbuf_get_string(&data, &name) || !mbuf_get_string(&data, &name))
			return true;
		if (!*name)
			return !rr->unnamed_reads;
		ps = tracked ? find_client_prepared_statement(client, name) : NULL;
		return !ps || rr_classify_statement(client, ps) == RR_SQL_WRITE;
	case PqMsg_FunctionCall:
		return true;
	default:
		return false;
	}
}

/* where an unnamed statement lives, and whether it may write */
static void note_unnamed(PgSocket *client, PktHdr *pkt, bool writes)
{
	struct RRClient *rr = client->rr;

	if (pkt->type != PqMsg_Parse || mbuf_written(&pkt->data) <= NEW_HEADER_LEN
	    || pkt->data.data[NEW_HEADER_LEN] != 0)
		return;
	if (rr->home)
		safe_strcpy(rr->unnamed, client->link->pool->db->name, sizeof(rr->unnamed));
	else
		rr->unnamed[0] = 0;
	rr->unnamed_reads = !writes;
}

/*
 * Called for each message once it has a server, before it is sent.  With
 * *done it was sent already.
 */
bool rr_linked(PgSocket *client, PktHdr *pkt, bool tracked, bool *done)
{
	PgSocket *server = client->link;
	struct RRScope *scope;
	bool writes = true;

	*done = false;
	client->rr_decided = false;
	if (client->replication)
		return true;

	switch (pkt->type) {
	case PqMsg_Query:
	case PqMsg_FunctionCall:
	case PqMsg_Sync:
		client->rr_in_unit = false;
		break;
	case PqMsg_Parse:
	case PqMsg_Bind:
	case PqMsg_Describe:
	case PqMsg_Execute:
	case PqMsg_Close:
		client->rr_in_unit = true;
		break;
	}

	if (pkt->type == PqMsg_Query || pkt->type == PqMsg_Parse) {
		if (rr_rewrite_on) {
			if (!rr_client(client) || !rr_rewrite_first(client, pkt))
				return false;
		} else if (client->rr) {
			rr_texts_free(client->rr);	/* rewriting was just switched off */
		}
	}

	if (rr_routing_on && starts_unit(pkt->type)) {
		if (!rr_client(client))
			return false;
		if (cf_routing_read_your_writes != RR_RYW_OFF && (server->rr_wrote || may_write(pkt->type))) {
			scope = rr_scope_for(client, server->pool->db);
			if (scope) {
				/* in a transaction that wrote, anything may be its end */
				writes = message_writes(client, pkt, tracked);
				if (writes)
					server->rr_wrote = true;
				if (server->rr_wrote)
					rr_write_sent(server, scope);
			}
		}
		note_unnamed(client, pkt, writes);
		client->rr->kind_known = false;
	}

	if (rr_rewrite_on && (pkt->type == PqMsg_Query || (pkt->type == PqMsg_Parse && !tracked)))
		return rr_rewrite_message(client, pkt, done);
	return true;
}
