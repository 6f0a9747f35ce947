/* What a bare processor runs: one decision, then the self-test. The report tells how far it is. */

#include <stddef.h>
#include <stdint.h>

#include "@NAME@.h"

struct report {
    uint32_t state;
    uint32_t wrong;
    uint32_t checksum;
};

__attribute__((section(".report"))) volatile struct report report;
static float observation[@UPPER@_OBSERVATIONS];
@NOISE_BUFFER@static @TYPE@ action[@UPPER@_ACTIONS];

int @NAME@_test(uint32_t *checksum);
void _start(void);
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);

__attribute__((section(".start"))) void _start(void)
{
    report.state = 1;
    @NAME@_act(observation, @NOISE_GIVEN@action);
    report.state = 2;
#ifndef WITHOUT_TEST
    uint32_t checksum = 0;
    report.wrong = (uint32_t)@NAME@_test(&checksum);
    report.checksum = checksum;
#endif
    report.state = 3;
    for (;;) {
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    char *t = to;
    const char *f = from;
    for (size_t i = 0; i < count; i++) {
        t[i] = f[i];
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    char *t = to;
    for (size_t i = 0; i < count; i++) {
        t[i] = (char)value;
    }
    return to;
}
