// Benchmark guest: shortest paths in a dense graph, of the kind of MiBench's dijkstra. Usage: dijkstra NODES SOURCES
// From each of so many nodes in turn; prints distances and paths from the last one to some others.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    long nodes = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    long sources = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    if (nodes < 2 || sources < 1) {
        fputs("usage: dijkstra NODES SOURCES (at least 2 and 1)\n", stderr);
        return 2;
    }
    uint32_t *cost = malloc((size_t)(nodes * nodes) * sizeof *cost), *far = malloc((size_t)nodes * sizeof *far);
    long *from = malloc((size_t)nodes * sizeof *from);
    char *done = malloc((size_t)nodes);
    if (!cost || !far || !from || !done) return 3;
    uint32_t state = 12345;
    for (long i = 0; i < nodes * nodes; i++) {
        state = state * 1103515245u + 12345u;
        cost[i] = (state >> 16) % 1000 + 1;
    }
    for (long source = 0; source < sources; source++) {
        for (long i = 0; i < nodes; i++) far[i] = UINT32_MAX, from[i] = -1, done[i] = 0;
        far[source % nodes] = 0;
        for (long round = 0; round < nodes; round++) {
            long nearest = -1;
            for (long i = 0; i < nodes; i++)
                if (!done[i] && (nearest < 0 || far[i] < far[nearest])) nearest = i;
            done[nearest] = 1;
            for (long i = 0; i < nodes; i++) {
                uint32_t through = far[nearest] + cost[nearest * nodes + i];
                if (through < far[i]) far[i] = through, from[i] = nearest;
            }
        }
    }
    for (long i = 1; i <= 10; i++) {
        long node = i * (nodes - 1) / 10;
        printf("%u:", far[node]);
        for (long at = node; at >= 0; at = from[at]) printf(" %ld", at);
        printf("\n");
    }
    return 0;
}
