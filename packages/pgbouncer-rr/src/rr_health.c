/*
 * Groups of replicas: who is well, how far each has replayed, and who must see
 * which writes.
 *
 * Each member of a group, and its primary, is watched over a connection of our
 * own, by libpq.  Where a replica is behind is only judged by what the primary
 * said: a replica at LSN x is as fresh as the last moment at which the primary
 * was known to be at x or before.
 */
#include "bouncer.h"
#include "rr_int.h"

#include "scram.h"

#include <libpq-fe.h>
#include <netdb.h>
#include <usual/string.h>

/* how often to ask, and for how long, while somebody waits for a replica to catch up */
#define HOT_PERIOD (USEC / 100)
#define HOT_TIME (USEC / 2)

/* what the primary said, at the most one a HISTORY_STEP of the maximal lag */
#define HISTORY_SIZE 256
#define HISTORY_STEP 64

/* size of a WAL page, and of the headers that one may start with */
#define WAL_PAGE 8192
#define WAL_SHORT_HEADER 24
#define WAL_LONG_HEADER 40

enum target_state {
	TARGET_CLOSED,		/* no connection; the next try is at next_check */
	TARGET_CONNECTING,
	TARGET_IDLE,
	TARGET_ASKED,		/* waiting for the answer */
};

struct Sample {
	usec_t time;
	uint64_t lsn;
};

struct RRTarget {
	struct List node;
	char name[MAX_DBNAME];
	bool watched;		/* in a group */
	bool drained;

	/* the connection */
	enum target_state state;
	PGconn *conn;
	struct event ev;
	bool ev_added;
	struct DNSToken *dns_token;
	char *host;		/* where it was made to, to notice a change */
	int port;
	usec_t since;		/* start of connecting or asking */
	usec_t next_check;
	uint64_t asked_no;	/* moment at which the question was sent */

	/* what the last answer said */
	bool up;
	bool in_recovery;
	bool paused;
	uint64_t lsn;		/* replayed, or as a primary: inserted */
	uint64_t lsn_no;	/* moment of the question */
	usec_t lsn_time;
	char error[128];

	/* of a primary */
	char timeline[16];
	unsigned history;	/* a number for its timeline; LSNs of different ones say nothing of each other */
	struct Sample samples[HISTORY_SIZE];
	unsigned n_samples, last_sample;
	struct List pending;	/* scopes with a write whose LSN is not yet known */
	struct RRScope scope;	/* of all clients */
	struct RRTarget *scopes_of;	/* the first primary that is the same server: its scopes are this one's too */

	uint64_t units;		/* sent there */
};

struct Member {
	struct List node;
	struct RRTarget *target;
	usec_t fresh;		/* it has all that the primary had at this time */
	bool diverged;		/* it claims more than the primary */
};

struct RRGroup {
	struct List node;
	char name[MAX_DBNAME];
	bool dead;		/* not in the configuration that is being read */
	struct RRTarget *primary;
	struct List members;
	unsigned n_members;
	struct List *next;	/* round robin */
};

/* scopes of users; those of clients are in struct RRClient */
struct UserScope {
	UT_hash_handle hh;
	struct RRScope scope;
	char key[];
};

static LIST(target_list);
static LIST(group_list);
static struct UserScope *user_scopes;

static struct event timer;
static bool started;
static usec_t hot_until;

static struct RRScope *scope_of(PgSocket *client, struct RRTarget *primary);
static void timer_set(usec_t when);
static void target_event(evutil_socket_t sock, short flags, void *arg);

/*
 * Groups and their configuration.
 */

static struct RRTarget *find_target(const char *name)
{
	struct List *item;

	list_for_each(item, &target_list) {
		struct RRTarget *target = container_of(item, struct RRTarget, node);

		if (strcmp(target->name, name) == 0)
			return target;
	}
	return NULL;
}

/* targets are few and are never freed: clients remember them */
static struct RRTarget *add_target(const char *name)
{
	struct RRTarget *target = find_target(name);

	if (target)
		return target;
	target = calloc(1, sizeof(*target));
	if (!target)
		return NULL;
	list_init(&target->node);
	list_init(&target->pending);
	list_init(&target->scope.pending_node);
	target->scope.primary = target;
	target->scopes_of = target;
	safe_strcpy(target->name, name, sizeof(target->name));
	list_append(&target_list, &target->node);
	return target;
}

struct RRGroup *rr_find_group(const char *name)
{
	struct List *item;

	list_for_each(item, &group_list) {
		struct RRGroup *group = container_of(item, struct RRGroup, node);

		if (strcmp(group->name, name) == 0)
			return group;
	}
	return NULL;
}

struct RRGroup *rr_group_of_primary(const char *database)
{
	struct List *item;

	list_for_each(item, &group_list) {
		struct RRGroup *group = container_of(item, struct RRGroup, node);

		if (strcmp(group->primary->name, database) == 0)
			return group;
	}
	return NULL;
}

const char *rr_group_name(const struct RRGroup *group)
{
	return group->name;
}

static struct Member *find_member(struct RRGroup *group, const struct RRTarget *target)
{
	struct List *item;

	list_for_each(item, &group->members) {
		struct Member *member = container_of(item, struct Member, node);

		if (member->target == target)
			return member;
	}
	return NULL;
}

static void group_clear(struct RRGroup *group)
{
	struct List *item;

	while ((item = list_pop(&group->members)) != NULL)
		free(container_of(item, struct Member, node));
	group->n_members = 0;
	group->next = NULL;
}

static bool add_member(void *arg, const char *name)
{
	struct RRGroup *group = arg;
	struct Member *member;
	struct RRTarget *target;

	if (strlen(name) >= MAX_DBNAME) {
		log_error("group %s: too long database name: %s", group->name, name);
		return false;
	}
	target = add_target(name);
	if (!target)
		return false;
	if (target == group->primary || find_member(group, target)) {
		log_error("group %s: database %s is named twice", group->name, name);
		return false;
	}
	member = calloc(1, sizeof(*member));
	if (!member)
		return false;
	list_init(&member->node);
	member->target = target;
	list_append(&group->members, &member->node);
	group->n_members++;
	return true;
}

/* A line of [replica_groups]: name = primary : replica, replica ... */
bool rr_parse_group(void *base, const char *name, const char *value)
{
	char primary[MAX_DBNAME];
	struct RRGroup *group;
	struct RRTarget *target;
	const char *colon = strchr(value, ':');
	int len;

	if (strlen(name) >= MAX_DBNAME) {
		log_error("too long name of a replica group: %s", name);
		return false;
	}
	len = colon ? (int)(colon - value) : 0;
	while (len > 0 && isspace((unsigned char)value[len - 1]))
		len--;
	if (len == 0 || len >= MAX_DBNAME) {
		log_error("group %s: must be: primary : replica, replica ...", name);
		return false;
	}
	memcpy(primary, value, len);
	primary[len] = 0;
	target = add_target(primary);
	if (!target)
		return false;

	group = rr_find_group(name);
	if (!group) {
		group = calloc(1, sizeof(*group));
		if (!group)
			return false;
		list_init(&group->node);
		list_init(&group->members);
		safe_strcpy(group->name, name, sizeof(group->name));
		list_append(&group_list, &group->node);
	}
	group_clear(group);
	group->primary = target;
	group->dead = false;
	if (!parse_word_list(colon + 1, add_member, group))
		return false;
	if (list_empty(&group->members)) {
		log_error("group %s has no replica", name);
		return false;
	}
	return true;
}

/* before the configuration is read, and after that has failed */
void rr_set_groups_dead(bool flag)
{
	struct List *item;

	list_for_each(item, &group_list) {
		container_of(item, struct RRGroup, node)->dead = flag;
	}
}

/*
 * Watching.
 */

static void target_close(struct RRTarget *target)
{
	if (target->ev_added) {
		event_del(&target->ev);
		target->ev_added = false;
	}
	if (target->dns_token) {
		adns_cancel(adns, target->dns_token);
		target->dns_token = NULL;
	}
	if (target->conn) {
		PQfinish(target->conn);
		target->conn = NULL;
	}
	target->state = TARGET_CLOSED;
}

static void target_down(struct RRTarget *target, const char *why)
{
	bool news = target->up || !target->error[0];

	/* libpq says more on further lines */
	snprintf(target->error, sizeof(target->error), "%.*s", (int)strcspn(why, "\n"), why);
	if (news) {
		log_warning("routing: %s is down: %s", target->name, target->error);
		rr_rehome_needed = true;
	}
	target->up = false;
	target_close(target);
	target->next_check = get_cached_time() + cf_routing_check_period;
	timer_set(target->next_check);
}

static void target_wait(struct RRTarget *target, short flags)
{
	if (target->ev_added)
		event_del(&target->ev);
	event_assign(&target->ev, pgb_event_base, PQsocket(target->conn), flags | EV_PERSIST, target_event, target);
	target->ev_added = event_add(&target->ev, NULL) >= 0;
	if (!target->ev_added)
		target_down(target, "cannot wait for its connection");
}

/* the settings of a connection, later ones over earlier ones */
struct Settings {
	const char *keys[64];
	const char *values[64];
	int n;
};

static void setting(struct Settings *s, const char *key, const char *value)
{
	if (!value || s->n == 63)
		return;
	s->keys[s->n] = key;
	s->values[s->n++] = value;
}

static void target_connect_to(struct RRTarget *target, const char *hostaddr)
{
	PgDatabase *db = find_database(target->name);
	PgCredentials *forced = db ? db->forced_user_credentials : NULL;
	struct Settings s = { .n = 0 };
	PQconninfoOption *own;
	char port[16];
	char *err = NULL;

	if (!db) {
		target_down(target, "no such database");
		return;
	}
	own = PQconninfoParse(cf_routing_check_connstr ? cf_routing_check_connstr : "", &err);
	if (!own) {
		target_down(target, err ? err : "out of memory");
		PQfreemem(err);
		return;
	}
	snprintf(port, sizeof(port), "%d", db->port);
	setting(&s, "dbname", db->dbname);
	setting(&s, "gssencmode", "disable");
	setting(&s, "application_name", "pgbouncer-rr");
	if (forced) {
		setting(&s, "user", forced->name);
		if (get_password_type(forced->passwd) == PASSWORD_TYPE_PLAINTEXT && forced->passwd[0])
			setting(&s, "password", forced->passwd);
	}
	for (PQconninfoOption *o = own; o->keyword; o++)
		setting(&s, o->keyword, o->val);
	setting(&s, "host", db->host ? db->host : cf_unix_socket_dir);
	setting(&s, "hostaddr", hostaddr);
	setting(&s, "port", port);

	target->conn = PQconnectStartParams(s.keys, s.values, 0);
	PQconninfoFree(own);
	if (!target->conn || PQstatus(target->conn) == CONNECTION_BAD) {
		target_down(target, target->conn ? PQerrorMessage(target->conn) : "out of memory");
		return;
	}
	PQsetnonblocking(target->conn, 1);
	target_wait(target, EV_WRITE);
}

static void target_resolved(void *arg, const struct sockaddr *sa, int salen)
{
	struct RRTarget *target = arg;
	char host[INET6_ADDRSTRLEN + 1];

	target->dns_token = NULL;
	if (!sa || getnameinfo(sa, salen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		target_down(target, "name lookup failed");
	else
		target_connect_to(target, host);
}

static void target_connect(struct RRTarget *target)
{
	PgDatabase *db = find_database(target->name);
	struct in6_addr addr;

	target->state = TARGET_CONNECTING;
	target->since = get_cached_time();
	if (!db) {
		target_down(target, "no such database");
		return;
	}
	free(target->host);
	target->host = db->host ? strdup(db->host) : NULL;
	target->port = db->port;

	if (!db->host || db->host[0] == '/' || db->host[0] == '@' || strchr(db->host, ',')) {
		target_connect_to(target, NULL);
	} else if (inet_pton(AF_INET, db->host, &addr) == 1 || inet_pton(AF_INET6, db->host, &addr) == 1) {
		target_connect_to(target, db->host);
	} else {
		/* libpq would block the loop */
		target->dns_token = adns_resolve(adns, db->host, target_resolved, target);
	}
}

static void target_ask(struct RRTarget *target)
{
	static const char query[] =
		"SELECT pg_catalog.pg_is_in_recovery(),"
		" CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
		" ELSE pg_catalog.pg_current_wal_insert_lsn() END,"
		" CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END,"
		" CASE WHEN pg_catalog.pg_is_in_recovery() THEN ''"
		" ELSE pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) END";

	target->state = TARGET_ASKED;
	target->since = get_cached_time();
	target->asked_no = ++rr_moment;
	if (!PQsendQuery(target->conn, query)) {
		target_down(target, PQerrorMessage(target->conn));
		return;
	}
	target_wait(target, PQflush(target->conn) > 0 ? EV_READ | EV_WRITE : EV_READ);
	timer_set(target->since + cf_routing_check_timeout);
}

static uint64_t parse_lsn(const char *str)
{
	unsigned hi, lo;

	if (sscanf(str, "%X/%X", &hi, &lo) != 2)
		return 0;
	return ((uint64_t)hi << 32) | lo;
}

/*
 * The place where the next record goes, after the page's header if it is the
 * page's first.  A replica that has replayed all stands before that header.
 */
static uint64_t before_page_header(uint64_t lsn)
{
	unsigned offset = lsn % WAL_PAGE;

	if (offset == WAL_SHORT_HEADER || offset == WAL_LONG_HEADER)
		lsn -= offset;
	return lsn;
}

static void member_judge(struct RRGroup *group, struct Member *member)
{
	struct RRTarget *primary = group->primary;
	struct RRTarget *target = member->target;

	if (!target->lsn)
		return;
	if (primary->lsn && primary->lsn_no > target->lsn_no)
		member->diverged = target->lsn > primary->lsn;
	for (unsigned i = 0; i < primary->n_samples; i++) {
		const struct Sample *s = &primary->samples[(primary->last_sample + HISTORY_SIZE - i) % HISTORY_SIZE];

		if (s->lsn <= target->lsn) {
			if (s->time > member->fresh)
				member->fresh = s->time;
			break;
		}
	}
}

static void judge_members(struct RRTarget *changed)
{
	struct List *item, *mitem;

	list_for_each(item, &group_list) {
		struct RRGroup *group = container_of(item, struct RRGroup, node);

		list_for_each(mitem, &group->members) {
			struct Member *member = container_of(mitem, struct Member, node);

			if (changed == group->primary || changed == member->target)
				member_judge(group, member);
		}
	}
}

/* after it was read: forgets groups that are gone, watches what is in groups */
static bool same_server(const PgDatabase *one, const PgDatabase *other)
{
	return one && other && one->port == other->port && strcmpeq(one->host, other->host);
}

/* The first of the groups' primaries that is this server, or NULL. */
static struct RRTarget *primary_at(const PgDatabase *db)
{
	struct List *item;

	list_for_each(item, &group_list) {
		struct RRTarget *primary = container_of(item, struct RRGroup, node)->primary;

		if (same_server(find_database(primary->name), db))
			return primary;
	}
	return NULL;
}

void rr_groups_end(void)
{
	struct List *item, *tmp, *mitem;

	list_for_each_safe(item, &group_list, tmp) {
		struct RRGroup *group = container_of(item, struct RRGroup, node);

		if (group->dead) {
			group_clear(group);
			list_del(&group->node);
			free(group);
		} else if (find_database(group->name)) {
			log_error("group %s has the name of a database: rules cannot name the group", group->name);
		}
	}

	list_for_each(item, &target_list) {
		container_of(item, struct RRTarget, node)->watched = false;
	}
	list_for_each(item, &group_list) {
		struct RRGroup *group = container_of(item, struct RRGroup, node);

		struct RRTarget *first = primary_at(find_database(group->primary->name));

		group->primary->watched = true;
		group->primary->scopes_of = first ? first : group->primary;
		list_for_each(mitem, &group->members) {
			container_of(mitem, struct Member, node)->target->watched = true;
		}
	}
	list_for_each(item, &target_list) {
		struct RRTarget *target = container_of(item, struct RRTarget, node);
		PgDatabase *db = find_database(target->name);

		if (target->watched && !db)
			log_error("no such database in [databases]: %s", target->name);
		if (!target->watched || !db || !strcmpeq(db->host, target->host) || db->port != target->port) {
			target_close(target);
			target->up = false;
			target->next_check = 0;
		}
		judge_members(target);	/* members are made anew */
	}
	if (started)
		timer_set(0);
}

/* LSNs from before say nothing any more */
static void new_history(struct RRTarget *primary)
{
	struct List *item, *mitem;

	primary->history++;
	primary->n_samples = 0;
	list_for_each(item, &group_list) {
		struct RRGroup *group = container_of(item, struct RRGroup, node);

		if (group->primary != primary)
			continue;
		list_for_each(mitem, &group->members) {
			struct Member *member = container_of(mitem, struct Member, node);

			member->target->lsn = 0;
			member->fresh = 0;
			member->diverged = false;
		}
	}
}

static void primary_sampled(struct RRTarget *target, uint64_t lsn)
{
	struct Sample *last = &target->samples[target->last_sample];
	struct List *item, *tmp;

	/* the same LSN later is better news of it; steps keep the history long enough */
	if (target->n_samples == 0 || (lsn != last->lsn
				       && target->since - last->time >= cf_routing_max_lag / HISTORY_STEP)) {
		target->last_sample = (target->last_sample + 1) % HISTORY_SIZE;
		if (target->n_samples < HISTORY_SIZE)
			target->n_samples++;
		last = &target->samples[target->last_sample];
		last->lsn = lsn;
		last->time = target->since;
	} else if (lsn == last->lsn) {
		last->time = target->since;
	}

	list_for_each_safe(item, &target->pending, tmp) {
		struct RRScope *scope = container_of(item, struct RRScope, pending_node);

		if (scope->write_no < target->asked_no) {
			scope->lsn = lsn;
			scope->history = target->history;
			list_del(&scope->pending_node);
			list_init(&scope->pending_node);
		}
	}
}

static void target_answered(struct RRTarget *target, PGresult *res)
{
	const char *timeline;
	uint64_t lsn;
	bool was_up = target->up;

	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1 || PQnfields(res) != 4) {
		target_down(target, PQerrorMessage(target->conn));
		return;
	}
	target->in_recovery = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
	target->paused = strcmp(PQgetvalue(res, 0, 2), "t") == 0;
	timeline = PQgetvalue(res, 0, 3);
	lsn = parse_lsn(PQgetvalue(res, 0, 1));

	if (!target->in_recovery) {
		lsn = before_page_header(lsn);
		if (strcmp(timeline, target->timeline) != 0 || lsn < target->lsn) {
			if (target->timeline[0])
				log_info("routing: %s is on another timeline: %s", target->name, timeline);
			new_history(target);
			safe_strcpy(target->timeline, timeline, sizeof(target->timeline));
		}
	}
	target->lsn = lsn;
	target->lsn_no = target->asked_no;
	target->lsn_time = target->since;
	target->up = true;
	target->error[0] = 0;
	if (!was_up)
		log_info("routing: %s is up", target->name);
	if (!target->in_recovery)
		primary_sampled(target, lsn);
	judge_members(target);
}

static void target_read(struct RRTarget *target)
{
	PGresult *res;

	if (!PQconsumeInput(target->conn)) {
		target_down(target, PQerrorMessage(target->conn));
		return;
	}
	if (target->state == TARGET_IDLE) {
		/* notices only; an error is the server's farewell */
		if (PQstatus(target->conn) == CONNECTION_BAD)
			target_down(target, PQerrorMessage(target->conn));
		return;
	}
	while (target->state == TARGET_ASKED && !PQisBusy(target->conn)) {
		res = PQgetResult(target->conn);
		if (!res) {
			target->state = TARGET_IDLE;
			target->next_check = target->since + cf_routing_check_period;
			timer_set(0);
			return;
		}
		target_answered(target, res);
		PQclear(res);
	}
}

static void target_event(evutil_socket_t sock, short flags, void *arg)
{
	struct RRTarget *target = arg;

	if (target->state == TARGET_CONNECTING) {
		switch (PQconnectPoll(target->conn)) {
		case PGRES_POLLING_READING:
			target_wait(target, EV_READ);
			break;
		case PGRES_POLLING_WRITING:
			target_wait(target, EV_WRITE);
			break;
		case PGRES_POLLING_OK:
			target_ask(target);
			break;
		default:
			target_down(target, PQerrorMessage(target->conn));
			break;
		}
		return;
	}
	if ((flags & EV_WRITE) && PQflush(target->conn) == 0)
		target_wait(target, EV_READ);
	if (flags & EV_READ)
		target_read(target);
}

/* when is something to be done for this target? */
static usec_t target_due(struct RRTarget *target)
{
	usec_t due;

	switch (target->state) {
	case TARGET_CONNECTING:
	case TARGET_ASKED:
		return target->since + cf_routing_check_timeout;
	case TARGET_IDLE:
		due = target->next_check;
		if (get_cached_time() < hot_until && target->since + HOT_PERIOD < due)
			due = target->since + HOT_PERIOD;
		return due;
	case TARGET_CLOSED:
		break;
	}
	return target->next_check;
}

static void target_check(struct RRTarget *target)
{
	switch (target->state) {
	case TARGET_CLOSED:
		target_connect(target);
		break;
	case TARGET_CONNECTING:
		target_down(target, "no connection in time");
		break;
	case TARGET_IDLE:
		target_ask(target);
		break;
	case TARGET_ASKED:
		target_down(target, "no answer in time");
		break;
	}
}

static void timer_run(evutil_socket_t sock, short flags, void *arg)
{
	struct List *item;
	usec_t now = get_cached_time();
	usec_t next = now + cf_routing_check_period;

	list_for_each(item, &target_list) {
		struct RRTarget *target = container_of(item, struct RRTarget, node);

		if (!target->watched)
			continue;
		if (target_due(target) <= now)
			target_check(target);
		if (target_due(target) < next)
			next = target_due(target);
	}
	timer_set(next);
}

/* runs the checks at this time; an earlier one that is set already is not lost, as each run sets the next */
static void timer_set(usec_t when)
{
	usec_t now = get_cached_time();
	usec_t delay = when > now ? when - now : 0;
	struct timeval tv;

	if (!started || list_empty(&group_list))
		return;
	if (evtimer_pending(&timer, &tv)) {
		struct timeval real_now;
		usec_t left;

		event_base_gettimeofday_cached(pgb_event_base, &real_now);
		if (evutil_timercmp(&tv, &real_now, >)) {
			left = (tv.tv_sec - real_now.tv_sec) * USEC + tv.tv_usec - real_now.tv_usec;
			if (left <= delay)
				return;
		} else {
			return;
		}
	}
	tv.tv_sec = delay / USEC;
	tv.tv_usec = delay % USEC;
	evtimer_add(&timer, &tv);
}

static void be_hot(void)
{
	usec_t now = get_cached_time();

	if (now + HOT_TIME / 2 > hot_until) {
		hot_until = now + HOT_TIME;
		timer_set(now + HOT_PERIOD);
	}
}

void rr_health_start(void)
{
	evtimer_assign(&timer, pgb_event_base, timer_run, NULL);
	started = true;
	timer_set(0);
}

/*
 * Choosing.
 */

bool rr_is_drained(const char *database)
{
	struct RRTarget *target = find_target(database);

	return target && target->drained;
}

bool rr_is_down(const char *database)
{
	struct RRTarget *target = find_target(database);

	return target && target->watched && !target->up;
}

bool rr_set_drained(const char *database, bool drained)
{
	struct RRTarget *target = add_target(database);

	if (!target)
		return false;
	target->drained = drained;
	rr_rehome_needed = true;
	return true;
}

/* NULL if it may serve reads, else why not */
static const char *member_trouble(struct RRGroup *group, struct Member *member)
{
	struct RRTarget *target = member->target;

	if (target->drained)
		return "drained";
	if (!target->up)
		return "down";
	if (!target->in_recovery && cf_routing_require_recovery)
		return "not in recovery";
	if (target->paused)
		return "replay is paused";
	if (member->diverged)
		return "ahead of its primary";
	if (cf_routing_max_lag > 0
	    && (!member->fresh || get_cached_time() - member->fresh > cf_routing_max_lag))
		return "behind";
	return NULL;
}

/*
 * The client may have been served by a replica before.  How far that one was
 * is known from what it, or the primary, said after its last answer.  False if
 * nobody has said anything since.
 */
static bool find_floor(struct RRClient *rr, struct RRGroup *group)
{
	struct RRTarget *old = rr->replica, *primary = group->primary;

	if (rr->floor_no == rr->replica_no)
		return true;
	if (old->lsn && old->lsn_no > rr->replica_no)
		rr->floor = old->lsn;
	else if (primary->lsn && !primary->in_recovery && primary->lsn_no > rr->replica_no)
		rr->floor = primary->lsn;
	else
		return false;
	rr->floor_no = rr->replica_no;
	rr->floor_history = primary->history;
	return true;
}

/* has the replica replayed all that the client must see? */
static bool member_has(struct Member *member, struct RRClient *rr, struct RRScope *scope, struct RRGroup *group)
{
	struct RRTarget *target = member->target;

	if (scope && scope->write_no) {
		if (cf_routing_read_your_writes == RR_RYW_TIME)
			return get_cached_time() - scope->write_time >= cf_routing_read_your_writes_time;
		if (target->lsn < scope->lsn)
			return false;
	}
	if (rr->replica && rr->replica != target) {
		if (!find_floor(rr, group))
			return false;
		if (rr->floor_history == group->primary->history && target->lsn < rr->floor)
			return false;
	}
	return true;
}

/* No write of the scope may be on its way, and where the last one is must be known. */
static bool scope_settled(struct RRScope *scope)
{
	if (!scope)
		return true;
	if (scope->in_flight)
		return false;
	if (!scope->write_no || cf_routing_read_your_writes != RR_RYW_LSN)
		return true;
	if (!list_empty(&scope->pending_node))
		return false;
	if (scope->history != scope->primary->history) {
		list_append(&scope->primary->pending, &scope->pending_node);
		return false;
	}
	return true;
}

/* A replica of the group for this client's next read, or NULL: home. */
PgDatabase *rr_pick_replica(PgSocket *client, struct RRGroup *group)
{
	struct RRClient *rr = client->rr;
	struct RRScope *scope = NULL;
	struct Member *member;
	struct List *item;
	bool any_well = false;
	PgDatabase *db;

	if (cf_routing_read_your_writes != RR_RYW_OFF) {
		scope = scope_of(client, group->primary);
		if (!scope_settled(scope)) {
			rr_stats.unseen_write++;
			be_hot();
			return NULL;
		}
	}

	/* stay */
	member = rr->replica ? find_member(group, rr->replica) : NULL;
	if (member && !member_trouble(group, member)) {
		if (!member_has(member, rr, scope, group)) {
			rr_stats.unseen_write++;
			be_hot();
			return NULL;
		}
		goto found;
	}

	/* the next one of those that are well */
	item = group->next ? group->next : &group->members;
	for (unsigned n = group->n_members; n > 0; n--) {
		item = item->next == &group->members ? group->members.next : item->next;
		member = container_of(item, struct Member, node);
		if (member_trouble(group, member))
			continue;
		any_well = true;
		if (!member_has(member, rr, scope, group))
			continue;
		group->next = item;
		rr->replica = member->target;
		rr->replica_no = rr->floor_no = 0;	/* the floor stays */
		goto found;
	}
	if (any_well) {
		rr_stats.unseen_write++;
		be_hot();
	} else {
		rr_stats.no_replica++;
	}
	return NULL;
found:
	db = find_database(member->target->name);
	if (db)
		member->target->units++;
	return db;
}

/* The client's unit on this database has ended. */
void rr_left_replica(PgSocket *client, const char *database)
{
	struct RRClient *rr = client->rr;

	if (rr->replica && strcmp(rr->replica->name, database) == 0)
		rr->replica_no = ++rr_moment;
}

/*
 * Writes.
 */

static struct RRScope *user_scope(struct RRTarget *primary, const char *user)
{
	char key[MAX_DBNAME + MAX_USERNAME];
	size_t name_len = strlen(primary->name) + 1, user_len = strlen(user);
	struct UserScope *found;

	memcpy(key, primary->name, name_len);
	memcpy(key + name_len, user, user_len);
	HASH_FIND(hh, user_scopes, key, name_len + user_len, found);
	if (!found) {
		/* as many as there are users: never freed, as those */
		found = calloc(1, sizeof(*found) + name_len + user_len);
		if (!found)
			fatal("out of memory");
		memcpy(found->key, key, name_len + user_len);
		list_init(&found->scope.pending_node);
		found->scope.primary = primary;
		HASH_ADD_KEYPTR(hh, user_scopes, found->key, name_len + user_len, found);
	}
	return &found->scope;
}

/* Who must see what this client writes to this primary. */
static struct RRScope *scope_of(PgSocket *client, struct RRTarget *primary)
{
	struct RRScope *scope;

	primary = primary->scopes_of;
	switch (cf_routing_read_your_writes_scope) {
	case RR_SCOPE_CLIENT:
		/* a client writes to one primary; if rules make it two, the wider scope is right for the other */
		scope = &client->rr->scope;
		if (!scope->primary)
			scope->primary = primary;
		if (scope->primary == primary)
			return scope;
		break;
	case RR_SCOPE_USER:
		return user_scope(primary, client->login_user_credentials->name);
	}
	return &primary->scope;
}

/*
 * The same for writes to this database: a primary, or another entry of
 * [databases] for the same server.  NULL if it is neither.
 */
struct RRScope *rr_scope_for(PgSocket *client, PgDatabase *db)
{
	struct RRTarget *primary = primary_at(db);

	return primary ? scope_of(client, primary) : NULL;
}

void rr_scope_forget(struct RRScope *scope)
{
	list_del(&scope->pending_node);
	list_init(&scope->pending_node);
}

/* A statement that may write, or end a transaction that did, is about to be sent. */
void rr_write_sent(PgSocket *server, struct RRScope *scope)
{
	if (server->rr_scope)
		return;
	server->rr_scope = scope;
	scope->in_flight++;
}

static void scope_written(struct RRScope *scope)
{
	scope->write_no = ++rr_moment;
	scope->write_time = get_cached_time();
	if (cf_routing_read_your_writes != RR_RYW_LSN)
		return;
	if (list_empty(&scope->pending_node))
		list_append(&scope->primary->pending, &scope->pending_node);
	be_hot();
}

static void write_settled(PgSocket *server)
{
	server->rr_scope->in_flight--;
	server->rr_scope = NULL;
}

/* ReadyForQuery, from a server that wrote: the write counts from here if no transaction holds it. */
void rr_server_answered(PgSocket *server, char state)
{
	if (!server->rr_scope)
		return;
	if (state == 'I')
		scope_written(server->rr_scope);
	if (!statlist_empty(&server->outstanding_requests))
		return;
	if (state == 'I')
		server->rr_wrote = false;
	write_settled(server);
}

/* The server is lost, and with it the answer: the write may have been done. */
void rr_server_lost(PgSocket *server)
{
	server->rr_wrote = false;
	if (server->rr_scope) {
		scope_written(server->rr_scope);
		write_settled(server);
	}
}

/*
 * Command: SHOW RR_TARGETS
 */
static void show_target(PktBuf *buf, struct RRGroup *group, struct RRTarget *target, struct Member *member)
{
	const char *trouble;
	char lag[32] = "", lsn[32] = "";

	if (member)
		trouble = member_trouble(group, member);
	else if (target->drained)
		trouble = "drained";
	else if (group && !target->up)
		trouble = "down";
	else if (group && target->in_recovery)
		trouble = "in recovery";
	else
		trouble = NULL;
	if (member && member->fresh)
		snprintf(lag, sizeof(lag), "%.3f", (double)(get_cached_time() - member->fresh) / USEC);
	if (target->lsn)
		snprintf(lsn, sizeof(lsn), "%X/%X", (unsigned)(target->lsn >> 32), (unsigned)target->lsn);
	pktbuf_write_DataRow(buf, "ssssssqs", group ? group->name : NULL, target->name,
			     member ? "replica" : group ? "primary" : NULL,
			     trouble ? trouble : "well", lag[0] ? lag : NULL, lsn[0] ? lsn : NULL,
			     target->units, target->error[0] ? target->error : NULL);
}

bool rr_show_targets(PgSocket *admin, const char *arg)
{
	PktBuf *buf = pktbuf_dynamic(512);
	struct List *item, *mitem;

	if (!buf)
		return admin_error(admin, "no mem");
	pktbuf_write_RowDescription(buf, "ssssssqs", "group", "database", "role", "state", "lag", "lsn",
				    "units", "error");
	list_for_each(item, &group_list) {
		struct RRGroup *group = container_of(item, struct RRGroup, node);

		show_target(buf, group, group->primary, NULL);
		list_for_each(mitem, &group->members) {
			struct Member *member = container_of(mitem, struct Member, node);

			show_target(buf, group, member->target, member);
		}
	}
	list_for_each(item, &target_list) {
		struct RRTarget *target = container_of(item, struct RRTarget, node);

		if (!target->watched && target->drained)
			show_target(buf, NULL, target, NULL);
	}
	return admin_flush(admin, buf, "SHOW");
}
