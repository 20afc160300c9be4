/*
 * Runs a program and says on the last line of standard error how much memory it held at most, in
 * KiB. A process of its own, and small: what starts a program counts until the program runs.
 *
 *   peak PROGRAM
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words)
{
	struct rusage usage;
	int status;
	if (count != 2)
		return 2;
	pid_t child = fork();
	if (child == 0) {
		execv(words[1], words + 1);
		perror(words[1]);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) != child) {
		perror("peak");
		return 1;
	}
	fprintf(stderr, "\n%ld\n", usage.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
