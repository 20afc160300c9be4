/*
 * The least that an overlay's peers can cost: a VXLAN device, and for each peer's block a neighbour
 * entry, a forwarding entry and a route, in sends of 256 KiB with one acknowledgement each. Nothing is
 * looked at before, and nothing compared.
 *
 *   peers COUNT LOCAL-ADDRESS
 *
 * Prints how many microseconds it took to write all of them, and to write them again over those that
 * are there. The device is made before and removed after.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SEND (256 * 1024)
#define DEVICE "peers0"

struct batch {
	char bytes[SEND + 4096];
	size_t length;
	struct nlmsghdr *message;
	uint32_t seq;
};

static struct batch batch;

static void fail(const char *what)
{
	fprintf(stderr, "peers: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void begin(uint16_t type, uint16_t flags, const void *header, size_t size)
{
	batch.message = (struct nlmsghdr *)(batch.bytes + batch.length);
	*batch.message = (struct nlmsghdr){
		.nlmsg_len = NLMSG_LENGTH(NLMSG_ALIGN(size)),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | flags,
		.nlmsg_seq = ++batch.seq,
	};
	memcpy(NLMSG_DATA(batch.message), header, size);
	batch.length += batch.message->nlmsg_len;
}

static struct nlattr *put(uint16_t type, const void *value, size_t size)
{
	struct nlattr *attribute = (struct nlattr *)(batch.bytes + batch.length);
	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + size;
	if (size)
		memcpy((char *)attribute + NLA_HDRLEN, value, size);
	batch.length += NLA_ALIGN(attribute->nla_len);
	batch.message->nlmsg_len = batch.bytes + batch.length - (char *)batch.message;
	return attribute;
}

/* Sends what there is, the last message asking for the acknowledgement, and takes the answer. */
static void flush(int fd, const char *what)
{
	char answer[8192];
	if (!batch.length)
		return;
	batch.message->nlmsg_flags |= NLM_F_ACK;
	if (send(fd, batch.bytes, batch.length, 0) < 0)
		fail(what);
	batch.length = 0;
	for (;;) {
		ssize_t length = recv(fd, answer, sizeof answer, 0);
		if (length < 0)
			fail(what);
		struct nlmsghdr *message = (struct nlmsghdr *)answer;
		for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
			if (message->nlmsg_type != NLMSG_ERROR)
				continue;
			errno = -((struct nlmsgerr *)NLMSG_DATA(message))->error;
			if (errno)
				fail(what);
			if (message->nlmsg_seq == batch.seq)
				return;
		}
	}
}

static void make_device(int fd, const char *local)
{
	struct ifinfomsg link = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	uint8_t mac[6] = { 0x0a, 1, 2, 3, 4, 5 }, off = 0;
	uint32_t vni = 4100;
	uint16_t port = htons(4789);
	struct in_addr address;

	inet_pton(AF_INET, local, &address);
	begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
	put(IFLA_IFNAME, DEVICE, sizeof DEVICE);
	put(IFLA_ADDRESS, mac, sizeof mac);
	struct nlattr *info = put(IFLA_LINKINFO | NLA_F_NESTED, NULL, 0);
	put(IFLA_INFO_KIND, "vxlan", 6);
	struct nlattr *data = put(IFLA_INFO_DATA | NLA_F_NESTED, NULL, 0);
	put(IFLA_VXLAN_ID, &vni, sizeof vni);
	put(IFLA_VXLAN_LOCAL, &address, sizeof address);
	put(IFLA_VXLAN_PORT, &port, sizeof port);
	put(IFLA_VXLAN_LEARNING, &off, sizeof off);
	data->nla_len = info->nla_len = 0;
	data->nla_len = batch.bytes + batch.length - (char *)data;
	info->nla_len = batch.bytes + batch.length - (char *)info;
	flush(fd, "device");
}

static void remove_device(int fd, uint32_t index)
{
	struct ifinfomsg link = { .ifi_index = index };
	begin(RTM_DELLINK, 0, &link, sizeof link);
	flush(fd, "remove device");
}

static void peer(int fd, uint32_t index, uint32_t n)
{
	/* 10.B.C.0/24 at 198.18.B'.C', which nothing else here uses. */
	uint32_t block = htonl(0x0a000000 + ((n + 1) << 8)), outer = htonl(0xc6120000 + n + 1);
	uint8_t mac[6] = { 0x0a, 0, n >> 24, n >> 16, n >> 8, n };
	/* Distinct metrics: with one for all, adding routes is quadratic. */
	uint32_t metric = 1000 + (n * 2654435761u >> 16);
	struct ndmsg neighbour = { .ndm_family = AF_INET, .ndm_ifindex = index,
				   .ndm_state = NUD_PERMANENT };
	struct ndmsg forward = { .ndm_family = AF_BRIDGE, .ndm_ifindex = index,
				 .ndm_state = NUD_PERMANENT | NUD_NOARP, .ndm_flags = NTF_SELF };
	struct rtmsg route = { .rtm_family = AF_INET, .rtm_dst_len = 24, .rtm_table = RT_TABLE_MAIN,
			       .rtm_protocol = 88, .rtm_type = RTN_UNICAST,
			       .rtm_flags = RTNH_F_ONLINK };

	begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &neighbour, sizeof neighbour);
	put(NDA_DST, &block, sizeof block);
	put(NDA_LLADDR, mac, sizeof mac);
	begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &forward, sizeof forward);
	put(NDA_LLADDR, mac, sizeof mac);
	put(NDA_DST, &outer, sizeof outer);
	begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof route);
	put(RTA_DST, &block, sizeof block);
	put(RTA_GATEWAY, &block, sizeof block);
	put(RTA_OIF, &index, sizeof index);
	put(RTA_PRIORITY, &metric, sizeof metric);
	if (batch.length >= SEND)
		flush(fd, "peers");
}

static long write_all(int fd, uint32_t index, uint32_t count)
{
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (uint32_t n = 0; n < count; n++)
		peer(fd, index, n);
	flush(fd, "peers");
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: peers COUNT LOCAL-ADDRESS\n");
		return 2;
	}
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0), room = 1 << 22;
	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	make_device(fd, argv[2]);
	uint32_t index = if_nametoindex(DEVICE), count = atoi(argv[1]);
	long cold = write_all(fd, index, count), again = write_all(fd, index, count);
	printf("%ld %ld\n", cold, again);
	remove_device(fd, index);
	return 0;
}
