/*
 * The server's log: one line per event, as text for people or as JSON for machines, each with what it is about as fields.
 *
 *     rg_log(RG_LOG_INFO, "job ended", RG_LOG_TEXT("job", id), RG_LOG_REAL("seconds", 0.55));
 *     2026-01-21T12:34:56.789Z info job ended: job=3986f5fb seconds=0.55
 *     {"time": "2026-01-21T12:34:56.789Z", "level": "info", "message": "job ended", "job": "3986f5fb", "seconds": 0.55}
 *
 * Nobody who logs ever waits: lines gather in memory (at most 1 MiB; more are dropped and counted), a thread writes them, whole lines
 * with each write(), so that several processes may append to one file. The last 300 are kept for ComfyUI's /internal/logs.
 * There is one log per process. Every function may be called from any thread.
 */
#ifndef RG_SERVER_LOG_H
#define RG_SERVER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum rg_log_level { RG_LOG_DEBUG, RG_LOG_INFO, RG_LOG_WARNING, RG_LOG_ERROR } rg_log_level;

/* "debug", "info", "warning", "error", in any case; ComfyUI's "critical" is error. */
bool rg_log_level_named(const char *name, rg_log_level *out);

typedef struct rg_log_options {
    rg_log_level level;                 /* less is not written */
    bool is_json;
    bool has_requests;                  /* one line per HTTP request */
    const char *file;                   /* appended to; NULL: fd */
    int fd;
} rg_log_options;

/* Before it, and after rg_log_stop(), only warnings and errors are written, at once and to standard error. -1 with the reason in text. */
int rg_log_start(const rg_log_options *o, char *text, size_t text_size);
void rg_log_stop(void);                 /* writes what is left, for up to two seconds */

/* Open the file anew: it was moved away by a rotation. The old one stays in use if that fails. */
void rg_log_reopen(void);

typedef struct rg_log_field {
    const char *name;                   /* NULL: the end */
    enum { RG_LOG_IS_TEXT, RG_LOG_IS_INT, RG_LOG_IS_REAL } kind;
    const char *text;                   /* NULL: the field is left out */
    int64_t whole;
    double real;
} rg_log_field;
#define RG_LOG_TEXT(n, t) { .name = (n), .kind = RG_LOG_IS_TEXT, .text = (t) }
#define RG_LOG_INT(n, v)  { .name = (n), .kind = RG_LOG_IS_INT, .whole = (v) }
#define RG_LOG_REAL(n, v) { .name = (n), .kind = RG_LOG_IS_REAL, .real = (v) }

bool rg_log_wants(rg_log_level level);
bool rg_log_wants_requests(void);
void rg_log_write(rg_log_level level, const char *message, const rg_log_field *fields);
#define rg_log(level, message, ...) rg_log_write((level), (message), (const rg_log_field[]){ __VA_ARGS__, { 0 } })

/* A line without fields. */
void rg_log_say(rg_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "2026-01-21T12:34:56.789Z" of seconds since 1970. */
void rg_utc_text(double seconds, char text[40]);

typedef struct rg_log_totals {
    int64_t n_lines[4];                 /* by level */
    int64_t n_dropped;
} rg_log_totals;
void rg_log_count(rg_log_totals *out);

/* ---- the last lines ---------------------------------------------------------------------------------------------------------- */

/*
 * Calls fn for each line kept whose number is above `after`, oldest first, with the local time ("2026-01-21T12:34:56.789012") and the text with its line end.
 * fn must not log. Returns the number of the newest line there is.
 */
typedef void rg_log_line_fn(void *user, const char *time, const char *text);
uint64_t rg_log_each(uint64_t after, rg_log_line_fn *fn, void *user);

/* fn runs on the log's thread after lines were written; it must not wait. NULL: nobody listens. */
void rg_log_on_written(void (*fn)(void *user), void *user);

#endif
