/*
 * The control socket's server. All on the loop thread; owns the accepted connections and a
 * descriptor in reserve, which makes room for one when the process has no other left. One message
 * is one request and has one reply; a client that waits for a pause is not read until it is
 * answered.
 */
#include "vmm/control.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void on_client(struct loop_source *s, uint32_t events);

/* Failing is not an end: asked again when a client leaves. */
static void keep_reserve(struct control *c)
{
    if (c->reserve < 0)
        c->reserve = eventfd(0, EFD_CLOEXEC);
}

static void drop(struct control_client *cl)
{
    struct control *c = cl->control;
    int fd = cl->source.fd;

    loop_del(c->loop, &cl->source);
    close_fd(&fd);
    cl->waiting = false;
    keep_reserve(c);
    /* A slot and a descriptor are free again. */
    (void)loop_watch(c->loop, &c->listener, EPOLLIN);
}

static struct control_client *free_slot(struct control *c)
{
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (c->client[i].source.fd < 0)
            return &c->client[i];
    }
    return NULL;
}

static bool anybody(const struct control *c)
{
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (c->client[i].source.fd >= 0)
            return true;
    }
    return false;
}

static bool out_of_descriptors(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* The next client, in the reserve's place when there is no other. -1 and errno. */
static int next_client(struct control *c)
{
    int fd = accept4(c->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0 || !out_of_descriptors(errno) || c->reserve < 0)
        return fd;
    close_fd(&c->reserve);
    return accept4(c->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void on_connection(struct loop_source *s, uint32_t events)
{
    struct control *c = s->arg;
    struct control_client *cl = free_slot(c);

    (void)events;
    if (cl == NULL) {
        /* The next one waits in the backlog until somebody leaves. */
        (void)loop_watch(c->loop, s, 0);
        return;
    }
    cleanup_fd int fd = next_client(c);
    if (fd < 0) {
        /* Somebody's leaving is a reason to look again. With nobody there is none but time. */
        if (out_of_descriptors(errno) && anybody(c))
            (void)loop_watch(c->loop, s, 0);
        return;
    }
    if (loop_add(c->loop, &cl->source, fd, EPOLLIN, on_client, cl) == 0)
        (void)take_fd(&fd);
}

static void reply(struct control_client *cl, struct control_reply *r, int error)
{
    struct control *c = cl->control;

    r->version = PLAN_VERSION;
    r->error = error;
    r->paused = c->ops->paused(c->arg);
    if (send(cl->source.fd, r, sizeof(*r), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof(*r))
        drop(cl);
}

/* Answers everyone who waits for a pause. */
static void answer_waiting(struct control *c, int error)
{
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct control_client *cl = &c->client[i];
        struct control_reply r = {0};
        if (!cl->waiting)
            continue;
        cl->waiting = false;
        (void)loop_watch(c->loop, &cl->source, EPOLLIN);
        reply(cl, &r, error);
    }
}

static void serve(struct control_client *cl, uint32_t op)
{
    struct control *c = cl->control;
    struct control_reply r = {0};

    switch (op) {
    case CONTROL_STOP:
        reply(cl, &r, 0);
        c->ops->stop(c->arg);
        break;
    case CONTROL_PAUSE:
        cl->waiting = true;
        (void)loop_watch(c->loop, &cl->source, 0);
        c->ops->pause(c->arg);
        if (c->ops->paused(c->arg))
            answer_waiting(c, 0);
        break;
    case CONTROL_RESUME:
        c->ops->resume(c->arg);
        answer_waiting(c, -ECANCELED);
        reply(cl, &r, 0);
        break;
    case CONTROL_STATS:
        c->ops->stats(c->arg, &r);
        reply(cl, &r, 0);
        break;
    default:
        reply(cl, &r, -ENOSYS);
        break;
    }
}

static void on_client(struct loop_source *s, uint32_t events)
{
    struct control_client *cl = s->arg;
    struct control_request req;
    struct control_reply r = {0};

    (void)events;
    ssize_t n = recv(s->fd, &req, sizeof(req), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        drop(cl);
    else if ((size_t)n != sizeof(req) || req.version != PLAN_VERSION)
        reply(cl, &r, -EPROTO);
    else
        serve(cl, req.op);
}

int control_init(struct control *c, struct loop *loop, int listen_fd, const struct control_ops *ops,
                 void *arg, struct err *e)
{
    memset(c, 0, sizeof(*c));
    c->loop = loop;
    c->ops = ops;
    c->arg = arg;
    c->listener.fd = c->reserve = -1;
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        c->client[i].control = c;
        c->client[i].source.fd = -1;
    }
    if (listen_fd < 0)
        return 0;
    keep_reserve(c);
    if (c->reserve < 0)
        return err_errno(e, "control socket: a descriptor in reserve");
    int r = loop_add(loop, &c->listener, listen_fd, EPOLLIN, on_connection, c);
    return r < 0 ? err_set(e, -r, "control socket: %s", strerror(-r)) : 0;
}

void control_done(struct control *c)
{
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (c->client[i].source.fd >= 0)
            drop(&c->client[i]);
    }
    if (c->listener.fd >= 0)
        loop_del(c->loop, &c->listener);
    close_fd(&c->reserve);
}

void control_paused(struct control *c)
{
    answer_waiting(c, 0);
}
