/*
 * From the write-ahead log into the database file. SQLite would do it within a commit, and 32 clients would wait for the file's flush:
 * 20 to 90 ms here, where a flush of the log takes 1 to 3. So a thread with a connection of its own does it while the writer goes on.
 * The log begins anew only when all of it has been copied and nobody writes meanwhile; under a load that never pauses it would grow for
 * ever, so that beyond a limit the writer copies the rest itself, once in some 10,000 jobs.
 */
#include <unistd.h>

#include "server/store_inside.h"

enum { COPY_PAGES = 1000, MOST_PAGES = 16384 };         /* of 4 KiB */

static void *checkpoint_main(void *arg)
{
    rg_queue *q = arg;

    pthread_mutex_lock(&q->lock);
    while (!q->is_closing) {
        if (!q->wants_checkpoint) {
            pthread_cond_wait(&q->has_log, &q->lock);
            continue;
        }
        q->wants_checkpoint = false;
        pthread_mutex_unlock(&q->lock);
        sqlite3_wal_checkpoint_v2(q->log_db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* On the writer's thread, after each commit: so many pages are in the log. */
static int on_commit(void *user, sqlite3 *db, const char *name, int n_pages)
{
    rg_queue *q = user;

    if (n_pages >= MOST_PAGES) {
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    } else if (n_pages >= COPY_PAGES) {
        pthread_mutex_lock(&q->lock);
        q->wants_checkpoint = true;
        pthread_cond_signal(&q->has_log);
        pthread_mutex_unlock(&q->lock);
    }
    return SQLITE_OK;
}

int store_checkpoint_start(rg_queue *q)
{
    if (!q->path)
        return 0;
    if (sqlite3_open_v2(q->path, &q->log_db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK)
        return RG_ERR_IO;
    if (pthread_create(&q->checkpointer, NULL, checkpoint_main, q) != 0)
        return RG_ERR_NOMEM;
    q->has_checkpointer = true;
    sqlite3_wal_hook(q->db, on_commit, q);
    return 0;
}

/* After the writer has ended. */
void store_checkpoint_end(rg_queue *q)
{
    if (q->has_checkpointer) {
        pthread_mutex_lock(&q->lock);
        pthread_cond_signal(&q->has_log);
        pthread_mutex_unlock(&q->lock);
        pthread_join(q->checkpointer, NULL);
    }
    q->has_checkpointer = false;
    sqlite3_close(q->log_db);
    q->log_db = NULL;
}
