/*
 * Holds as many network namespaces as asked for, without a mount each: /proc/PID/fd/3 and on.
 * Prints its process id when they are there; they go when its standard input ends.
 *
 *   namespaces COUNT
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

int main(int count, char **words)
{
	long wanted = count == 2 ? atol(words[1]) : 0;
	struct rlimit limit = { wanted + 16, wanted + 16 };
	if (wanted < 1 || setrlimit(RLIMIT_NOFILE, &limit)) {
		perror("namespaces: COUNT");
		return 2;
	}
	close_range(3, ~0u, 0);
	for (long i = 0; i < wanted; i++) {
		if (unshare(CLONE_NEWNET) || open("/proc/self/ns/net", O_RDONLY) != i + 3) {
			perror("namespaces: unshare");
			return 1;
		}
	}
	printf("%d\n", getpid());
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
