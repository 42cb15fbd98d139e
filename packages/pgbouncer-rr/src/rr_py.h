/*
 * Rules written in Python.
 *
 * A thin layer over CPython.  Knows nothing of PgBouncer: it loads a function
 * from a file, calls it with texts and gives back a text.
 */
#ifndef RR_PY_H
#define RR_PY_H

#include <stdbool.h>
#include <stddef.h>

enum rr_py_slot {
	RR_PY_ROUTE,
	RR_PY_REWRITE,
	RR_PY_SLOTS
};

enum rr_py_result {
	RR_PY_NONE,	/* the function returned None */
	RR_PY_TEXT,
	RR_PY_FAILED,	/* it raised, or returned neither a text nor None */
};

/*
 * Runs FILE and keeps its function NAME in the slot.  If anything fails, the
 * slot keeps the function that it had, and err says why.
 *
 * FILE and its folder must belong to root and be writable by nobody else:
 * who can write them can run code as the pooler and read every query.
 */
bool rr_py_load(enum rr_py_slot slot, const char *file, const char *name, char *err, size_t errlen);

void rr_py_unload(enum rr_py_slot slot);
bool rr_py_loaded(enum rr_py_slot slot);

/* Does the slot's function take a third positional argument? */
bool rr_py_takes_three(enum rr_py_slot slot);

/*
 * Calls the slot's function.  Bytes that are not UTF-8 reach it as lone
 * surrogates and come back as the same bytes.  The text in *res stays valid
 * until the next call, and has no zero byte but its last.
 */
enum rr_py_result rr_py_call(enum rr_py_slot slot, const char *user, const char *query, size_t qlen,
			     bool in_transaction, const char **res, size_t *reslen,
			     char *err, size_t errlen);

#endif
