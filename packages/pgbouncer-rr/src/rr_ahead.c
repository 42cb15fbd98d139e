/*
 * Reading ahead: the rest of an extended-protocol unit that does not fit into
 * the socket's buffer.
 *
 * What was received too early is kept beside that buffer, and given back as if
 * it came from the network just then: the socket's operations are replaced for
 * so long.
 */
#include "bouncer.h"
#include "rr_int.h"

/* how much to receive at a time: a TLS record */
#define CHUNK 16384

static struct RRClient *reader(SBuf *sbuf)
{
	return container_of(sbuf, PgSocket, sbuf)->rr;
}

static ssize_t ahead_recv(SBuf *sbuf, void *dst, size_t len)
{
	struct RRClient *rr = reader(sbuf);
	size_t got = mbuf_avail_for_read(&rr->ahead);
	ssize_t more;

	if (got > len)
		got = len;
	memcpy(dst, rr->ahead.data + rr->ahead.read_pos, got);
	rr->ahead.read_pos += got;
	if (mbuf_avail_for_read(&rr->ahead) > 0)
		return got;

	mbuf_free(&rr->ahead);
	sbuf->ops = rr->below;
	if (got < len) {
		/* an error, if there is one, is for the next call */
		more = sbuf_op_recv(sbuf, (uint8_t *)dst + got, len - got);
		if (more > 0)
			got += more;
	}
	return got;
}

static ssize_t ahead_send(SBuf *sbuf, const void *data, size_t len)
{
	return reader(sbuf)->below->sbufio_send(sbuf, data, len);
}

static int ahead_close(SBuf *sbuf)
{
	return reader(sbuf)->below->sbufio_close(sbuf);
}

static unsigned ahead_pending(SBuf *sbuf)
{
	return mbuf_avail_for_read(&reader(sbuf)->ahead);
}

static const SBufIO ahead_ops = { ahead_recv, ahead_send, ahead_close, ahead_pending };

/* Receives what is there now.  False if that is nothing. */
static bool receive_more(PgSocket *client)
{
	struct RRClient *rr = client->rr;
	SBuf *sbuf = &client->sbuf;
	IOBuf *io = sbuf->io;
	const SBufIO *below = sbuf->ops == &ahead_ops ? rr->below : sbuf->ops;
	ssize_t got;

	/* nothing is kept beside a buffer that has room: nobody would ask for it */
	if (iobuf_amount_recv(io) > 0) {
		got = sbuf_op_recv(sbuf, io->buf + io->recv_pos, iobuf_amount_recv(io));
		if (got > 0)
			io->recv_pos += got;
		return got > 0;
	}
	if (!mbuf_make_room(&rr->ahead, CHUNK))
		return false;
	got = below->sbufio_recv(sbuf, rr->ahead.data + rr->ahead.write_pos, CHUNK);
	if (got > 0) {
		rr->ahead.write_pos += got;
		rr->below = below;
		sbuf->ops = &ahead_ops;
	}
	return got > 0;
}

static size_t received(PgSocket *client)
{
	return iobuf_amount_parse(client->sbuf.io) + mbuf_avail_for_read(&client->rr->ahead);
}

static bool receive_until(PgSocket *client, size_t len)
{
	while (received(client) < len) {
		if (len > cf_routing_max_query || !receive_more(client))
			return false;
	}
	return true;
}

/* LEN bytes of what was received and not yet parsed, from POS */
static void peek(PgSocket *client, size_t pos, uint8_t *dst, size_t len)
{
	const IOBuf *io = client->sbuf.io;
	const struct MBuf *ahead = &client->rr->ahead;
	size_t in_io = iobuf_amount_parse(io), part;

	if (pos < in_io) {
		part = in_io - pos < len ? in_io - pos : len;
		memcpy(dst, io->buf + io->parse_pos + pos, part);
		dst += part;
		pos += part;
		len -= part;
	}
	if (len > 0)
		memcpy(dst, ahead->data + ahead->read_pos + (pos - in_io), len);
}

static bool unit_goes_on(unsigned type)
{
	switch (type) {
	case PqMsg_Parse:
	case PqMsg_Bind:
	case PqMsg_Describe:
	case PqMsg_Execute:
	case PqMsg_Close:
	case PqMsg_Flush:
		return true;
	default:
		return false;
	}
}

/*
 * The messages of a unit from SKIP bytes after what was parsed, up to its Sync
 * or whatever else ends it.  False if they are not all here, or too long.  The
 * caller frees *COPY.
 */
bool rr_unit_rest(PgSocket *client, size_t skip, const uint8_t **rest, size_t *len, uint8_t **copy)
{
	const IOBuf *io = client->sbuf.io;
	uint8_t header[NEW_HEADER_LEN];
	size_t end = skip;
	uint32_t body;

	*copy = NULL;
	do {
		if (!receive_until(client, end + NEW_HEADER_LEN))
			return false;
		peek(client, end, header, NEW_HEADER_LEN);
		body = ((uint32_t)header[1] << 24) | ((uint32_t)header[2] << 16) | ((uint32_t)header[3] << 8) | header[4];
		if (body < 4)
			return false;
		end += 1 + (size_t)body;
		if (!receive_until(client, end))
			return false;
	} while (unit_goes_on(header[0]));

	*len = end - skip;
	if (end <= iobuf_amount_parse(io)) {
		*rest = io->buf + io->parse_pos + skip;
		return true;
	}
	*rest = *copy = malloc(*len);
	if (!*copy)
		return false;
	peek(client, skip, *copy, *len);
	return true;
}
