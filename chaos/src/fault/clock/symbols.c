#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

/* The symbols that libfaketime looks up and that glibc does not have. glibc allocates memory for a look-up that fails. jemalloc reads
   the clock while it initialises itself, so libfaketime would look them up then, and jemalloc would wait for itself. Nobody calls them. */
void __ftime(void) {}
void settime(void) {}
void gettime(void) {}
__asm__(".symver settime,timer_settime@GLIBC_2.2");
__asm__(".symver gettime,timer_gettime@GLIBC_2.2");

/* librdkafka waits with cnd_timedwait, which glibc does not pass through pthread_cond_timedwait, so that libfaketime does not see it: with
   a clock that is ahead by an hour, each wait would last for an hour. This one ends when the clock of the process reaches the time, as it
   does on a machine whose clock is set. */
static const long LOOK_EVERY_NS = 50000000;

static int is_before(const struct timespec *one, const struct timespec *other) {
    return one->tv_sec < other->tv_sec || (one->tv_sec == other->tv_sec && one->tv_nsec < other->tv_nsec);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    struct timespec now, next;
    clock_gettime(CLOCK_REALTIME, &now);
    while (is_before(&now, until)) {
        next = now;
        next.tv_nsec += LOOK_EVERY_NS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_sec += 1;
            next.tv_nsec -= 1000000000;
        }
        if (is_before(until, &next))
            next = *until;
        switch (pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, &next)) {
        case 0:
            return thrd_success;
        case ETIMEDOUT:
            break;
        default:
            return thrd_error;
        }
        clock_gettime(CLOCK_REALTIME, &now);
    }
    return thrd_timedout;
}
