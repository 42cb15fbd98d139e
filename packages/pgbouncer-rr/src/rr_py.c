/*
 * Rules written in Python.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "rr_py.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* a rule file is a page or two; this only guards against a wrong path */
#define MAX_FILE_SIZE (4 * 1024 * 1024)

struct rule {
	PyObject *func;
	bool takes_three;
};

static struct rule rules[RR_PY_SLOTS];
static PyObject *last_result;

/* the exception that is set, as one line */
static void describe_exception(char *err, size_t errlen)
{
	PyObject *exc = PyErr_GetRaisedException();
	PyObject *str = exc ? PyObject_Str(exc) : NULL;
	const char *text = str ? PyUnicode_AsUTF8(str) : NULL;

	snprintf(err, errlen, "%s: %s", exc ? Py_TYPE(exc)->tp_name : "unknown error", text ? text : "");
	for (char *p = err; *p; p++) {
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	}
	Py_XDECREF(str);
	Py_XDECREF(exc);
	PyErr_Clear();
}

static bool start_python(char *err, size_t errlen)
{
	PyConfig config;
	PyStatus status;

	if (Py_IsInitialized())
		return true;

	/* isolated: no PYTHON* variables, no current directory, no user site */
	PyConfig_InitIsolatedConfig(&config);
	config.install_signal_handlers = 0;
	config.write_bytecode = 0;
	status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	if (PyStatus_Exception(status)) {
		snprintf(err, errlen, "cannot start Python: %s", status.err_msg ? status.err_msg : "unknown error");
		return false;
	}
	return true;
}

static bool check_owner(const struct stat *st, const char *what, char *err, size_t errlen)
{
	if (st->st_uid != 0) {
		snprintf(err, errlen, "%s must be owned by root", what);
		return false;
	}
	if (st->st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(err, errlen, "%s must not be writable by group or others", what);
		return false;
	}
	return true;
}

/* Reads the file after the checks, through one descriptor so that both see the same file. */
static char *read_file(const char *file, char *err, size_t errlen)
{
	struct stat st;
	char *path = NULL, *buf = NULL;
	ssize_t got, len = 0;
	int fd;

	fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		snprintf(err, errlen, "%s", strerror(errno));
		return NULL;
	}
	if (fstat(fd, &st) < 0) {
		snprintf(err, errlen, "%s", strerror(errno));
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(err, errlen, "not a regular file");
		goto fail;
	}
	if (!check_owner(&st, "the file", err, errlen))
		goto fail;
	if (st.st_size > MAX_FILE_SIZE) {
		snprintf(err, errlen, "too large");
		goto fail;
	}

	/* the folder where the file is, after symbolic links */
	path = realpath(file, NULL);
	if (!path || stat(dirname(path), &st) < 0) {
		snprintf(err, errlen, "%s", strerror(errno));
		goto fail;
	}
	if (!check_owner(&st, "its folder", err, errlen))
		goto fail;

	buf = malloc(MAX_FILE_SIZE + 1);
	if (!buf) {
		snprintf(err, errlen, "out of memory");
		goto fail;
	}
	while ((got = read(fd, buf + len, MAX_FILE_SIZE - len)) > 0)
		len += got;
	if (got < 0) {
		snprintf(err, errlen, "%s", strerror(errno));
		goto fail;
	}
	buf[len] = 0;
	if (strlen(buf) != (size_t)len) {
		snprintf(err, errlen, "holds a zero byte");
		goto fail;
	}
	free(path);
	close(fd);
	return buf;
fail:
	free(path);
	free(buf);
	close(fd);
	return NULL;
}

/* can it be called with three positional arguments? */
static bool takes_three(PyObject *func)
{
	PyObject *inspect, *signature = NULL, *bound = NULL;

	inspect = PyImport_ImportModule("inspect");
	if (inspect)
		signature = PyObject_CallMethod(inspect, "signature", "O", func);
	if (signature)
		bound = PyObject_CallMethod(signature, "bind", "OOO", Py_None, Py_None, Py_None);
	PyErr_Clear();
	Py_XDECREF(inspect);
	Py_XDECREF(signature);
	Py_XDECREF(bound);
	return bound != NULL;
}

bool rr_py_load(enum rr_py_slot slot, const char *file, const char *name, char *err, size_t errlen)
{
	static const char *const module_names[RR_PY_SLOTS] = { "routing_rules_file", "rewrite_query_file" };
	PyObject *code = NULL, *module = NULL, *ran = NULL, *path = NULL, *func = NULL;
	PyObject *globals, *modules, *old_module = NULL;
	char *text;
	bool ok = false;

	text = read_file(file, err, errlen);
	if (!text)
		return false;
	if (!start_python(err, errlen))
		goto out;

	module = PyModule_New(module_names[slot]);
	if (!module)
		goto raised;
	globals = PyModule_GetDict(module);
	path = PyUnicode_DecodeFSDefault(file);
	if (!path || PyDict_SetItemString(globals, "__file__", path) < 0)
		goto raised;
	if (PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) < 0)
		goto raised;
	/* in sys.modules while it runs, as for any import: the standard library looks there */
	modules = PyImport_GetModuleDict();
	old_module = Py_XNewRef(PyDict_GetItemString(modules, module_names[slot]));
	if (PyDict_SetItemString(modules, module_names[slot], module) < 0)
		goto raised;
	code = Py_CompileString(text, file, Py_file_input);
	if (!code)
		goto raised;
	ran = PyEval_EvalCode(code, globals, globals);
	if (!ran)
		goto raised;
	func = PyObject_GetAttrString(module, name);
	if (!func)
		goto raised;
	if (!PyCallable_Check(func)) {
		snprintf(err, errlen, "%s is not a function", name);
		goto out;
	}

	Py_XDECREF(rules[slot].func);
	rules[slot].func = func;
	rules[slot].takes_three = takes_three(func);
	func = NULL;
	ok = true;
	goto out;
raised:
	describe_exception(err, errlen);
out:
	if (!ok && old_module)
		PyDict_SetItemString(PyImport_GetModuleDict(), module_names[slot], old_module);
	Py_XDECREF(old_module);
	Py_XDECREF(func);
	Py_XDECREF(ran);
	Py_XDECREF(code);
	Py_XDECREF(path);
	Py_XDECREF(module);
	free(text);
	return ok;
}

void rr_py_unload(enum rr_py_slot slot)
{
	if (rules[slot].func)
		Py_CLEAR(rules[slot].func);
}

bool rr_py_loaded(enum rr_py_slot slot)
{
	return rules[slot].func != NULL;
}

bool rr_py_takes_three(enum rr_py_slot slot)
{
	return rules[slot].func != NULL && rules[slot].takes_three;
}

/* the bytes of a text result; keeps what owns them in last_result */
static bool result_bytes(PyObject *value, const char **res, size_t *reslen)
{
	Py_ssize_t len;

	*res = PyUnicode_AsUTF8AndSize(value, &len);
	if (*res) {
		last_result = Py_NewRef(value);
		*reslen = len;
		return true;
	}
	/* lone surrogates: the bytes that were not UTF-8 */
	PyErr_Clear();
	last_result = PyUnicode_AsEncodedString(value, "utf-8", "surrogateescape");
	if (!last_result)
		return false;
	*res = PyBytes_AS_STRING(last_result);
	*reslen = PyBytes_GET_SIZE(last_result);
	return true;
}

enum rr_py_result rr_py_call(enum rr_py_slot slot, const char *user, const char *query, size_t qlen,
			     bool in_transaction, const char **res, size_t *reslen,
			     char *err, size_t errlen)
{
	PyObject *args[3] = { NULL, NULL, in_transaction ? Py_True : Py_False };
	PyObject *value = NULL;
	enum rr_py_result result = RR_PY_FAILED;

	Py_CLEAR(last_result);
	args[0] = PyUnicode_DecodeUTF8(user, strlen(user), "surrogateescape");
	args[1] = PyUnicode_DecodeUTF8(query, qlen, "surrogateescape");
	if (args[0] && args[1])
		value = PyObject_Vectorcall(rules[slot].func, args, rules[slot].takes_three ? 3 : 2, NULL);
	if (!value) {
		describe_exception(err, errlen);
	} else if (value == Py_None) {
		result = RR_PY_NONE;
	} else if (!PyUnicode_Check(value)) {
		snprintf(err, errlen, "returned %s instead of str", Py_TYPE(value)->tp_name);
	} else if (!result_bytes(value, res, reslen)) {
		describe_exception(err, errlen);
	} else if (memchr(*res, 0, *reslen)) {
		snprintf(err, errlen, "returned a text with a zero byte");
	} else {
		result = RR_PY_TEXT;
	}
	Py_XDECREF(value);
	Py_XDECREF(args[0]);
	Py_XDECREF(args[1]);
	return result;
}
