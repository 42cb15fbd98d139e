/*
 * The console's side of query routing, and its start and reload.
 */
#include "bouncer.h"
#include "rr_int.h"

static bool started;
static bool reload_failed;

/* is anything configured, before the start? */
bool rr_configured(void)
{
	return (cf_routing_rules_py_module_file && *cf_routing_rules_py_module_file)
	       || (cf_rewrite_query_py_module_file && *cf_rewrite_query_py_module_file)
	       || cf_routing_builtin != RR_BUILTIN_OFF;
}

/* once, in the process that stays */
void rr_start(void)
{
	started = true;
	rr_groups_end();
	if (!rr_rules_load())
		die("cannot start without the configured routing");
	rr_health_start();
}

/* after the configuration was read again */
void rr_reload(void)
{
	if (!started)
		return;
	rr_groups_end();
	reload_failed = !rr_rules_load();
	if (reload_failed)
		rr_stats.reload_failures++;
	rr_rehome_needed = true;
}

static bool is_ours(const char *key)
{
	return strncmp(key, "routing_", 8) == 0 || strncmp(key, "rewrite_", 8) == 0;
}

/* The console has SET this: false if it could not be applied. */
bool rr_apply_set(const char *key)
{
	if (!is_ours(key))
		return true;
	rr_reload();
	return !reload_failed;
}

/* the answer to RELOAD */
bool rr_admin_reloaded(PgSocket *admin)
{
	PktBuf *buf;

	if (!reload_failed)
		return admin_ready(admin, "RELOAD");
	buf = pktbuf_dynamic(256);
	if (!buf)
		return admin_error(admin, "no mem");
	pktbuf_write_Notice(buf, "the routing rules could not be loaded, still using the old ones; the log says why");
	return admin_flush(admin, buf, "RELOAD");
}

/* Command: SHOW RR_STATS */
bool rr_show_stats(PgSocket *admin, const char *arg)
{
	PktBuf *buf = pktbuf_dynamic(1024);

	if (!buf)
		return admin_error(admin, "no mem");
	pktbuf_write_RowDescription(buf, "sq", "key", "value");
#define ROW(name) pktbuf_write_DataRow(buf, "sq", #name, rr_stats.name)
	ROW(home);
	ROW(away);
	ROW(waits);
	ROW(rehomed);
	ROW(unit_incomplete);
	ROW(unit_disagrees);
	ROW(too_long);
	ROW(target_unusable);
	ROW(no_replica);
	ROW(unseen_write);
	ROW(calls);
	ROW(call_time);
	ROW(call_time_max);
	ROW(slow_calls);
	ROW(failures);
	ROW(cache_hits);
	ROW(cache_misses);
	ROW(cache_bytes);
	ROW(rewrites);
	ROW(rewritten);
	ROW(rewrite_failures);
	ROW(reload_failures);
#undef ROW
	return admin_flush(admin, buf, "SHOW");
}

static bool set_drained(PgSocket *admin, const char *arg, bool drained, const char *command)
{
	PgDatabase *db;

	if (!admin->admin_user)
		return admin_error(admin, "admin access needed");
	if (!arg[0])
		return admin_error(admin, "a database is required");
	log_info("%s '%s' command issued", command, arg);
	db = find_database(arg);
	if (!db)
		return admin_error(admin, "no such database: %s", arg);
	if (db->admin)
		return admin_error(admin, "the admin db is never a target: %s", arg);
	if (!rr_set_drained(arg, drained))
		return admin_error(admin, "no mem");
	return admin_ready(admin, command);
}

/* Command: DRAIN: send nothing more there; what runs may end */
bool rr_cmd_drain(PgSocket *admin, const char *arg)
{
	return set_drained(admin, arg, true, "DRAIN");
}

/* Command: UNDRAIN */
bool rr_cmd_undrain(PgSocket *admin, const char *arg)
{
	return set_drained(admin, arg, false, "UNDRAIN");
}
