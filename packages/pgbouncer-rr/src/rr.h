/*
 * Query routing and rewriting: what PgBouncer's own files need to know of it.
 *
 * Every hook in them is behind rr_active, or a bit or pointer that stays zero
 * as long as it is false.
 */

struct RRClient;
struct RRScope;

/* a rule file or the builtin routing is configured */
extern bool rr_active;

/* a client may wait for a server of a target that can no longer serve it */
extern bool rr_rehome_needed;

/* settings */
extern int cf_routing_builtin;
extern int cf_routing_begin_read_only;
extern int cf_routing_cache;
extern int cf_routing_cache_size;
extern char *cf_routing_check_connstr;
extern usec_t cf_routing_check_period;
extern usec_t cf_routing_check_timeout;
extern usec_t cf_routing_max_lag;
extern unsigned int cf_routing_max_query;
extern int cf_routing_on_failure;
extern char *cf_routing_read_functions;
extern int cf_routing_read_your_writes;
extern int cf_routing_read_your_writes_scope;
extern usec_t cf_routing_read_your_writes_time;
extern int cf_routing_require_recovery;
extern char *cf_routing_rules_py_module_file;
extern usec_t cf_routing_slow_call;
extern int cf_rewrite_query_disconnect_on_failure;
extern char *cf_rewrite_query_py_module_file;
extern unsigned int cf_rewrite_max_query;

extern const struct CfLookup rr_bool_map[];
extern const struct CfLookup rr_builtin_map[];
extern const struct CfLookup rr_cache_map[];
extern const struct CfLookup rr_on_failure_map[];
extern const struct CfLookup rr_ryw_map[];
extern const struct CfLookup rr_ryw_scope_map[];

/* main.c: after the start, and after each reading of the configuration */
bool rr_parse_group(void *base, const char *name, const char *value);
void rr_set_groups_dead(bool flag);
void rr_start(void);
void rr_reload(void);
bool rr_configured(void);

/* client.c: the life of a message */
bool rr_want_full_packet(PgSocket *client, PktHdr *pkt);
bool rr_route(PgSocket *client, PktHdr *pkt, bool tracked) _MUSTCHECK;
bool rr_linked(PgSocket *client, PktHdr *pkt, bool tracked, bool *done) _MUSTCHECK;
void rr_login_keys(PgSocket *client);

/* prepare.c */
bool rr_rewrite_parse(PgSocket *client, PgParsePacket *parse) _MUSTCHECK;
PgPreparedStatement *find_client_prepared_statement(PgSocket *client, const char *name);

/* server.c */
void rr_server_answered(PgSocket *server, char state);
void rr_continue(PgSocket *client);

/* objects.c, janitor.c, admin.c */
void rr_released(PgSocket *client);
void rr_client_free(PgSocket *client);
void rr_server_lost(PgSocket *server);
bool rr_fall_back(PgSocket *client);
void rr_rehome_waiting(void);
void rr_pool_gone(PgPool *pool);
PgPool *rr_home_pool(PgSocket *client);

/* admin.c: the console */
bool rr_show_stats(PgSocket *admin, const char *arg);
bool rr_show_targets(PgSocket *admin, const char *arg);
bool rr_cmd_drain(PgSocket *admin, const char *arg);
bool rr_cmd_undrain(PgSocket *admin, const char *arg);
bool rr_apply_set(const char *key);
bool rr_admin_reloaded(PgSocket *admin);
