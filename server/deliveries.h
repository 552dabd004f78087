/*
 * What the queue keeps of webhooks: for each state a job comes into that its webhook asked for, one delivery, written in the same
 * transaction as the state itself. So whatever happens to the process, every state that was reached is told of, and none
 * that was not. Who sends them is webhook.c.
 *
 * The functions that write wait for the disk, those that read do too: not for an event loop. Any other thread may call them.
 */
#ifndef RG_SERVER_DELIVERIES_H
#define RG_SERVER_DELIVERIES_H

#include "server/queue.h"

typedef enum rg_delivery_state { RG_DELIVERY_PENDING, RG_DELIVERY_DELIVERED, RG_DELIVERY_FAILED } rg_delivery_state;
const char *rg_delivery_state_name(rg_delivery_state s);

/* One try. */
typedef struct rg_delivery_attempt {
    int n;                              /* from 1 */
    double at, seconds;                 /* when it began, since 1970; how long it took */
    int status;                         /* of the answer; 0: none came */
    char *error;                        /* NULL: it was taken */
} rg_delivery_attempt;

typedef struct rg_delivery {
    int64_t key;                        /* the store's */
    char *id;                           /* "msg_..." the same in every try */
    char *job;
    rg_job_state event;                 /* the state that it tells of */
    rg_delivery_state state;
    double created, due;                /* seconds since 1970; due: the next try, while pending */
    int n_attempts;                     /* so far */
    int n_tries;                        /* so far since it was made or sent again by hand */
    char *webhook;                      /* of the job when it was made: see rg_job */
    char *body;                         /* NULL before the first try ended */
    rg_delivery_attempt *attempts;      /* rg_queue_deliveries() only */
} rg_delivery;
void rg_delivery_free(rg_delivery *d);
void rg_deliveries_free(rg_delivery **list);            /* NULL-terminated */

/* fn runs on the queue's writer thread whenever there are new ones; it must not wait. Set it before jobs are pushed; NULL: none. */
void rg_queue_on_delivery(rg_queue *q, void (*fn)(void *user), void *user);

/* Where pending ones go, each host once, and when the first is due. */
typedef struct rg_delivery_host {
    char *host;
    double due;
} rg_delivery_host;
int rg_queue_delivery_hosts(rg_queue *q, rg_delivery_host **hosts);     /* how many, in one rg_free()-able block; RG_ERR_IO, RG_ERR_NOMEM */

/* Pending ones of a host that are due by then, oldest due first, at most max. Returns how many, RG_ERR_IO, RG_ERR_NOMEM. */
int rg_queue_deliveries_due(rg_queue *q, const char *host, double by, int max, rg_delivery ***list);

/* All of a job, in the order they came to be, with their attempts. */
int rg_queue_deliveries(rg_queue *q, const char *job, rg_delivery ***list);

/* A try of d has ended: kept in the log with what comes next. body is what was sent, kept when it is the first. */
int rg_queue_delivery_tried(rg_queue *q, const rg_delivery *d, const rg_delivery_attempt *a, const char *body, rg_delivery_state state, double due);

/* Send it again, whatever became of it: pending and due now. RG_ERR_NOT_FOUND */
int rg_queue_delivery_again(rg_queue *q, int64_t key);

#endif
