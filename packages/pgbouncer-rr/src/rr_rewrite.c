/*
 * Query rewriting: the text of each Query and Parse is what rewrite_query
 * makes of it.
 *
 * A message may come by several times before it can be sent, and the Parse
 * messages of a unit are rewritten ahead, for the router to judge.  So each
 * new text waits in a queue until its message is sent.
 */
#include "bouncer.h"
#include "rr_int.h"

static struct RRText *text_add(PgSocket *client, bool same, const char *text, size_t len)
{
	struct RRText *entry = malloc(sizeof(*entry) + len + 1);

	if (!entry) {
		disconnect_client(client, true, "out of memory");
		return NULL;
	}
	list_init(&entry->node);
	entry->same = same;
	entry->len = len;
	memcpy(entry->text, text, len);
	entry->text[len] = 0;
	list_append(&client->rr->texts, &entry->node);
	return entry;
}

static void text_drop_first(struct RRClient *rr)
{
	struct RRText *entry;

	if (list_empty(&rr->texts))
		return;
	entry = container_of(rr->texts.next, struct RRText, node);
	list_del(&entry->node);
	free(entry);
}

void rr_texts_free(struct RRClient *rr)
{
	while (!list_empty(&rr->texts))
		text_drop_first(rr);
}

/* False if the client was disconnected for it. */
static bool rewrite_failed(PgSocket *client, const char *why)
{
	static struct RRLogLimit limit;

	rr_stats.rewrite_failures++;
	rr_log(&limit, client, "rewrite_query: %s", why);
	if (!cf_rewrite_query_disconnect_on_failure)
		return true;
	disconnect_client(client, true, "query rewrite failed");
	return false;
}

/*
 * The new text of the NRth message from here that has one; TEXT is its old
 * one.  NULL if the client was disconnected.
 */
struct RRText *rr_rewritten(PgSocket *client, unsigned nr, const char *text, size_t len)
{
	struct List *item;
	const char *res;
	size_t reslen;
	char err[256];
	usec_t spent;

	list_for_each(item, &client->rr->texts) {
		if (nr-- == 0)
			return container_of(item, struct RRText, node);
	}

	if (len > cf_rewrite_max_query) {
		if (!rewrite_failed(client, "the query is longer than rewrite_max_query"))
			return NULL;
		return text_add(client, true, "", 0);
	}
	rr_stats.rewrites++;
	switch (rr_call(client, RR_PY_REWRITE, text, len, false, &res, &reslen, err, sizeof(err), &spent)) {
	case RR_PY_NONE:
		if (!rewrite_failed(client, "returned None instead of str"))
			return NULL;
		return text_add(client, true, "", 0);
	case RR_PY_FAILED:
		if (!rewrite_failed(client, err))
			return NULL;
		return text_add(client, true, "", 0);
	case RR_PY_TEXT:
		break;
	}
	if (reslen > cf_rewrite_max_query) {
		if (!rewrite_failed(client, "the new query is longer than rewrite_max_query"))
			return NULL;
		return text_add(client, true, "", 0);
	}
	if (reslen == len && memcmp(res, text, len) == 0)
		return text_add(client, true, "", 0);
	rr_stats.rewritten++;
	return text_add(client, false, res, reslen);
}

/* the name (Parse only) and text of a message; false if it is not all here, or broken */
static bool message_text(PktHdr *pkt, const char **name, const char **text, struct MBuf *rest)
{
	*rest = pkt->data;
	*name = NULL;
	if (incomplete_pkt(pkt))
		return false;
	if (pkt->type == PqMsg_Parse && !mbuf_get_string(rest, name))
		return false;
	return mbuf_get_string(rest, text);
}

/* Makes sure that the text of this message, the first to be sent, is rewritten. */
bool rr_rewrite_first(PgSocket *client, PktHdr *pkt)
{
	const char *name, *text;
	struct MBuf rest;

	if (message_text(pkt, &name, &text, &rest))
		return rr_rewritten(client, 0, text, strlen(text)) != NULL;
	if (incomplete_pkt(pkt))
		return rewrite_failed(client, "the query is longer than rewrite_max_query");
	return true;	/* broken; the server answers that */
}

/* Sends the new message instead of the old one, if there is one. */
bool rr_rewrite_message(PgSocket *client, PktHdr *pkt, bool *done)
{
	const char *name, *text;
	struct RRText *first;
	struct MBuf rest;
	PktBuf *buf;

	*done = false;
	if (!message_text(pkt, &name, &text, &rest))
		return true;
	first = container_of(client->rr->texts.next, struct RRText, node);
	if (first->same) {
		text_drop_first(client->rr);
		return true;
	}
	if (!sbuf_flush(&client->sbuf))
		return false;

	buf = pktbuf_dynamic(first->len + 64);
	if (!buf)
		goto failed;
	pktbuf_start_packet(buf, pkt->type);
	if (name)
		pktbuf_put_string(buf, name);
	pktbuf_put_bytes(buf, first->text, first->len + 1);
	pktbuf_put_bytes(buf, rest.data + rest.read_pos, mbuf_avail_for_read(&rest));
	pktbuf_finish_packet(buf);
	text_drop_first(client->rr);
	if (!add_outstanding_request(client, pkt->type, RA_FORWARD)) {
		pktbuf_free(buf);
		goto failed;
	}
	if (!sbuf_queue_packet(&client->sbuf, &client->link->sbuf, buf))
		goto failed;
	if (client->packet_cb_state.flag != CB_HANDLE_COMPLETE_PACKET)
		sbuf_prepare_skip(&client->sbuf, pkt->len);
	*done = true;
	return true;
failed:
	disconnect_client(client, true, "out of memory");
	return false;
}

/*
 * The Parse of a statement that PgBouncer tracks: replaces its text before it
 * is looked up among those already known.
 */
bool rr_rewrite_parse(PgSocket *client, PgParsePacket *parse)
{
	struct RRClient *rr = client->rr;
	size_t old_len, types_len;
	struct RRText *first;

	if (!rr || list_empty(&rr->texts))
		return true;
	first = container_of(rr->texts.next, struct RRText, node);
	if (!first->same) {
		/* parse refers to the text and to the parameter types after it */
		old_len = strlen(parse->query_and_parameters) + 1;
		types_len = parse->query_and_parameters_len - old_len;
		free(rr->parse);
		rr->parse = malloc(first->len + 1 + types_len);
		if (!rr->parse) {
			disconnect_client(client, true, "out of memory");
			return false;
		}
		memcpy(rr->parse, first->text, first->len + 1);
		memcpy(rr->parse + first->len + 1, parse->query_and_parameters + old_len, types_len);
		parse->query_and_parameters = rr->parse;
		parse->query_and_parameters_len = first->len + 1 + types_len;
	}
	text_drop_first(rr);
	return true;
}
