// The floor of a name server: one thread, a system call for each datagram that comes and one for
// each that goes, and the same address for whatever is asked. On TCP, all messages that came
// together are answered together.
//   responder ADDRESS PORT
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 12, LONGEST = 512, ROOM = 65536, CONNECTIONS = 1024 };

struct connection {
  int fd;
  size_t held;
  uint8_t bytes[ROOM];
};

static void fail(const char *what) {
  perror(what);
  exit(1);
}

// Writes the answer behind where the question ends; the answer's length, or 0.
static size_t answer(uint8_t *m, size_t length) {
  if (length < HEADER || length > LONGEST || m[2] & 0x80 || m[4] || m[5] != 1) return 0;
  size_t end = HEADER;
  while (end < length && m[end]) end += m[end] + 1u;
  end += 5;
  if (end > length) return 0;
  static const uint8_t address[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 80};
  int is_a = m[end - 3] == 1 && m[end - 4] == 0;
  m[2] = 0x80 | (m[2] & 0x79);
  m[3] = 0x80;
  memset(m + 6, 0, 6);
  m[7] = is_a;
  if (!is_a) return end;
  memcpy(m + end, address, sizeof address);
  return end + sizeof address;
}

static void datagram(int fd) {
  uint8_t m[LONGEST * 2];
  struct sockaddr_in from;
  socklen_t size = sizeof from;
  ssize_t got = recvfrom(fd, m, LONGEST, 0, (struct sockaddr *)&from, &size);
  if (got < 0) return;
  size_t length = answer(m, (size_t)got);
  if (length) sendto(fd, m, length, 0, (struct sockaddr *)&from, size);
}

// Answers what is whole; 0 when the connection is over.
static int stream(struct connection *c) {
  static uint8_t out[ROOM * 2];
  ssize_t got = recv(c->fd, c->bytes + c->held, ROOM - c->held, 0);
  if (got <= 0) return got < 0 && errno == EINTR;
  c->held += (size_t)got;
  size_t at = 0, full = 0;
  while (c->held - at >= 2) {
    size_t length = (size_t)c->bytes[at] << 8 | c->bytes[at + 1];
    if (length > LONGEST) return 0;
    if (c->held - at - 2 < length) break;
    if (full + LONGEST * 2 > sizeof out) break;
    memcpy(out + full + 2, c->bytes + at + 2, length);
    size_t told = answer(out + full + 2, length);
    if (!told) return 0;
    out[full] = (uint8_t)(told >> 8);
    out[full + 1] = (uint8_t)told;
    full += told + 2;
    at += length + 2;
  }
  memmove(c->bytes, c->bytes + at, c->held - at);
  c->held -= at;
  for (size_t sent = 0; sent < full;) {
    ssize_t n = send(c->fd, out + sent, full - sent, MSG_NOSIGNAL);
    if (n <= 0) return 0;
    sent += (size_t)n;
  }
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "responder ADDRESS PORT\n");
    return 2;
  }
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) fail(argv[1]);
  int one = 1;
  int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(udp, (struct sockaddr *)&at, sizeof at)) fail("bind udp");
  if (bind(tcp, (struct sockaddr *)&at, sizeof at) || listen(tcp, 128)) fail("bind tcp");
  int poll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = &udp};
  if (epoll_ctl(poll, EPOLL_CTL_ADD, udp, &event)) fail("epoll_ctl");
  event.data.ptr = &tcp;
  if (epoll_ctl(poll, EPOLL_CTL_ADD, tcp, &event)) fail("epoll_ctl");
  for (;;) {
    struct epoll_event ready[64];
    int count = epoll_wait(poll, ready, 64, -1);
    for (int i = 0; i < count; i++) {
      if (ready[i].data.ptr == &udp) {
        datagram(udp);
      } else if (ready[i].data.ptr == &tcp) {
        int fd = accept(tcp, NULL, NULL);
        if (fd < 0) continue;
        struct connection *c = fd < CONNECTIONS ? calloc(1, sizeof *c) : NULL;
        if (!c) {
          close(fd);
          continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        event.data.ptr = c;
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
      } else {
        struct connection *c = ready[i].data.ptr;
        if (!stream(c)) {
          close(c->fd);
          free(c);
        }
      }
    }
  }
}
