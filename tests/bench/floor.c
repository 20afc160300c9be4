/*
 * The least that attaching a container to a bridge can cost: the kernel objects that the bridge
 * plugin makes, in as few messages, and nothing else. No configuration is read, no address is
 * chosen, no record is written, nothing is locked or undone.
 *
 *   floor add NETNS BRIDGE HOST-LINK ADDRESS/PREFIX GATEWAY MAC
 *   floor del NETNS BRIDGE HOST-LINK ADDRESS/PREFIX GATEWAY MAC
 *
 * The bridge, `table inet cleat` and `table bridge cleat` are there already: a plugin was run in
 * this namespace before. Deleting is the plugin's way: a child asks for it and waits for the
 * kernel, while this process goes on at the notice.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Linux 6.3; Debian 12 has older headers. */
#define DESTROYSETELEM 30
#define IF_OPER_UP 6

struct batch {
	char bytes[4096];
	size_t length;
	struct nlmsghdr *message;
	uint32_t seq;
};

struct wanted {
	const char *bridge, *host;
	uint32_t bridge_index;
	struct in_addr address, gateway;
	uint8_t prefix, mac[6];
	char comment[128];
};

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void begin(struct batch *b, uint16_t type, uint16_t flags, const void *header, size_t size)
{
	b->message = (struct nlmsghdr *)(b->bytes + b->length);
	*b->message = (struct nlmsghdr){
		.nlmsg_len = NLMSG_LENGTH(NLMSG_ALIGN(size)),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | flags,
		.nlmsg_seq = ++b->seq,
	};
	memcpy(NLMSG_DATA(b->message), header, size);
	b->length += b->message->nlmsg_len;
}

static struct nlattr *put(struct batch *b, uint16_t type, const void *value, size_t size)
{
	struct nlattr *attribute = (struct nlattr *)(b->bytes + b->length);
	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + size;
	if (size)
		memcpy((char *)attribute + NLA_HDRLEN, value, size);
	b->length += NLA_ALIGN(attribute->nla_len);
	b->message->nlmsg_len = b->bytes + b->length - (char *)b->message;
	return attribute;
}

static struct nlattr *open_nest(struct batch *b, uint16_t type)
{
	return put(b, type | NLA_F_NESTED, NULL, 0);
}

static void close_nest(struct batch *b, struct nlattr *nest)
{
	nest->nla_len = b->bytes + b->length - (char *)nest;
}

static void put_string(struct batch *b, uint16_t type, const char *text)
{
	put(b, type, text, strlen(text) + 1);
}

static int netlink(int protocol)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		fail("socket");
	return fd;
}

/* Sends the batch, whose last message asks for the acknowledgement, and takes the answer to it. */
static void exchange(int fd, struct batch *b, const char *what)
{
	char answer[8192];
	if (send(fd, b->bytes, b->length, 0) < 0)
		fail(what);
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
			return;
		}
	}
}

static void create(int fd, const struct wanted *w, int netns)
{
	struct batch b = {0};
	uint32_t mtu = 1500, ns = netns, one = 1;
	uint8_t on = 1, none = IN6_ADDR_GEN_MODE_NONE;
	struct ifinfomsg link = {0};

	begin(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
	put_string(&b, IFLA_IFNAME, w->host);
	put(&b, IFLA_NUM_TX_QUEUES, &one, sizeof one);
	put(&b, IFLA_NUM_RX_QUEUES, &one, sizeof one);
	put(&b, IFLA_MTU, &mtu, sizeof mtu);
	put(&b, IFLA_MASTER, &w->bridge_index, sizeof w->bridge_index);
	struct nlattr *info = open_nest(&b, IFLA_LINKINFO);
	put_string(&b, IFLA_INFO_KIND, "veth");
	struct nlattr *data = open_nest(&b, IFLA_INFO_DATA), *peer = open_nest(&b, VETH_INFO_PEER);
	b.length += sizeof link; /* The peer's header, all zero. */
	put_string(&b, IFLA_IFNAME, "eth0");
	put(&b, IFLA_NUM_TX_QUEUES, &one, sizeof one);
	put(&b, IFLA_NUM_RX_QUEUES, &one, sizeof one);
	put(&b, IFLA_ADDRESS, w->mac, sizeof w->mac);
	put(&b, IFLA_MTU, &mtu, sizeof mtu);
	put(&b, IFLA_NET_NS_FD, &ns, sizeof ns);
	close_nest(&b, peer), close_nest(&b, data), close_nest(&b, info);

	link.ifi_flags = link.ifi_change = IFF_UP;
	begin(&b, RTM_NEWLINK, 0, &link, sizeof link);
	put_string(&b, IFLA_IFNAME, w->host);
	info = open_nest(&b, IFLA_LINKINFO);
	put(&b, IFLA_INFO_SLAVE_KIND, "bridge", 7);
	data = open_nest(&b, IFLA_INFO_SLAVE_DATA);
	put(&b, IFLA_BRPORT_MODE, &on, sizeof on);
	close_nest(&b, data), close_nest(&b, info);
	struct nlattr *families = open_nest(&b, IFLA_AF_SPEC), *inet6 = open_nest(&b, AF_INET6);
	put(&b, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof none);
	close_nest(&b, inet6), close_nest(&b, families);

	struct ndmsg neighbour = { .ndm_family = AF_INET, .ndm_ifindex = w->bridge_index,
				   .ndm_state = NUD_PERMANENT };
	begin(&b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &neighbour, sizeof neighbour);
	put(&b, NDA_DST, &w->address, sizeof w->address);
	put(&b, NDA_LLADDR, w->mac, sizeof w->mac);
	exchange(fd, &b, "veth");
}

/* Runs inside the container. */
static void configure(const struct wanted *w)
{
	struct batch b = {0};
	uint32_t index = if_nametoindex("eth0");
	struct in_addr broadcast = { w->address.s_addr | ~htonl(~0u << (32 - w->prefix)) };
	struct ifaddrmsg address = { .ifa_family = AF_INET, .ifa_prefixlen = w->prefix,
				     .ifa_index = index };
	begin(&b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &address, sizeof address);
	put(&b, IFA_LOCAL, &w->address, sizeof w->address);
	put(&b, IFA_ADDRESS, &w->address, sizeof w->address);
	put(&b, IFA_BROADCAST, &broadcast, sizeof broadcast);
	/* IPv6 multicast of an IPv4-only container would cost every later attach: no address, none. */
	struct ifinfomsg quiet = { .ifi_index = index };
	uint8_t none = IN6_ADDR_GEN_MODE_NONE;
	begin(&b, RTM_NEWLINK, 0, &quiet, sizeof quiet);
	struct nlattr *families = open_nest(&b, IFLA_AF_SPEC), *inet6 = open_nest(&b, AF_INET6);
	put(&b, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof none);
	close_nest(&b, inet6), close_nest(&b, families);
	struct ifinfomsg up = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	begin(&b, RTM_NEWLINK, 0, &up, sizeof up);
	struct rtmsg route = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN,
			       .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_UNIVERSE,
			       .rtm_type = RTN_UNICAST };
	begin(&b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &route, sizeof route);
	put(&b, RTA_GATEWAY, &w->gateway, sizeof w->gateway);
	put(&b, RTA_OIF, &index, sizeof index);
	int fd = netlink(NETLINK_ROUTE);
	exchange(fd, &b, "eth0");
	close(fd);
}

static void element(struct batch *b, uint16_t type, uint8_t family, const char *set,
		    const struct nlattr *key, const char *comment)
{
	struct nfgenmsg header = { .nfgen_family = family };
	uint16_t flags = type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;
	begin(b, NFNL_SUBSYS_NFTABLES << 8 | type, flags, &header, sizeof header);
	put_string(b, NFTA_SET_ELEM_LIST_TABLE, "cleat");
	put_string(b, NFTA_SET_ELEM_LIST_SET, set);
	struct nlattr *list = open_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS), *one = open_nest(b, 1);
	struct nlattr *outer = open_nest(b, NFTA_SET_ELEM_KEY);
	put(b, NFTA_DATA_VALUE, (char *)key + NLA_HDRLEN, key->nla_len - NLA_HDRLEN);
	close_nest(b, outer);
	if (comment && type == NFT_MSG_NEWSETELEM) {
		char userdata[130] = { 0, strlen(comment) + 1 };
		memcpy(userdata + 2, comment, strlen(comment) + 1);
		put(b, NFTA_SET_ELEM_USERDATA, userdata, strlen(comment) + 3);
	}
	close_nest(b, one), close_nest(b, list);
}

/* A key of these parts, each padded to a register. */
static struct nlattr *key(const void *first, size_t a, const void *second, size_t c)
{
	static char bytes[64];
	memset(bytes, 0, sizeof bytes);
	struct nlattr *attribute = (struct nlattr *)bytes;
	memcpy(bytes + NLA_HDRLEN, first, a);
	if (c)
		memcpy(bytes + NLA_HDRLEN + NLA_ALIGN(a), second, c);
	attribute->nla_len = NLA_HDRLEN + (c ? NLA_ALIGN(a) + NLA_ALIGN(c) : a);
	return attribute;
}

static void filter(int fd, const struct wanted *w, uint16_t type)
{
	struct batch b = {0};
	struct nfgenmsg header = { .res_id = htons(NFNL_SUBSYS_NFTABLES) };
	char port[IFNAMSIZ] = {0};
	strncpy(port, w->host, sizeof port - 1);

	begin(&b, NFNL_MSG_BATCH_BEGIN, 0, &header, sizeof header);
	element(&b, type, NFPROTO_INET, "masq4", key(&w->address, 4, NULL, 0), w->comment);
	element(&b, type, NFPROTO_BRIDGE, "ports", key(port, sizeof port, NULL, 0), w->comment);
	element(&b, type, NFPROTO_BRIDGE, "own4", key(port, sizeof port, &w->address, 4), NULL);
	element(&b, type, NFPROTO_BRIDGE, "held4", key(&w->address, 4, NULL, 0), NULL);
	element(&b, type, NFPROTO_BRIDGE, "own_mac", key(port, sizeof port, w->mac, 6), NULL);
	element(&b, type, NFPROTO_BRIDGE, "held_mac", key(w->mac, 6, NULL, 0), NULL);
	b.message->nlmsg_flags |= NLM_F_ACK;
	begin(&b, NFNL_MSG_BATCH_END, 0, &header, sizeof header);
	exchange(fd, &b, "nft");
}

static int is_up(int fd, const char *name)
{
	struct batch b = {0};
	char answer[8192];
	struct ifinfomsg link = {0};
	begin(&b, RTM_GETLINK, 0, &link, sizeof link);
	put_string(&b, IFLA_IFNAME, name);
	if (send(fd, b.bytes, b.length, 0) < 0)
		fail("get link");
	ssize_t length = recv(fd, answer, sizeof answer, 0);
	struct nlmsghdr *message = (struct nlmsghdr *)answer;
	if (length < 0 || message->nlmsg_type != RTM_NEWLINK)
		fail("get link");
	struct rtattr *a = IFLA_RTA(NLMSG_DATA(message));
	int rest = IFLA_PAYLOAD(message);
	for (; RTA_OK(a, rest); a = RTA_NEXT(a, rest))
		if (a->rta_type == IFLA_OPERSTATE)
			return *(uint8_t *)RTA_DATA(a) == IF_OPER_UP;
	return 0;
}

static void add(const char *path, const struct wanted *w)
{
	int host = netlink(NETLINK_ROUTE), nft = netlink(NETLINK_NETFILTER);
	int netns = open(path, O_RDONLY | O_CLOEXEC);
	if (netns < 0)
		fail(path);
	create(host, w, netns);
	if (setns(netns, CLONE_NEWNET))
		fail("setns");
	configure(w);
	filter(nft, w, NFT_MSG_NEWSETELEM);
	/* Before that a first packet may be lost, and is sent again only after a second. */
	while (!is_up(host, w->host) || !is_up(host, w->bridge))
		sched_yield();
}

static void del(const struct wanted *w)
{
	int nft = netlink(NETLINK_NETFILTER), host = netlink(NETLINK_ROUTE), alive[2];
	filter(nft, w, DESTROYSETELEM);

	struct batch b = {0};
	struct ndmsg neighbour = { .ndm_family = AF_INET, .ndm_ifindex = w->bridge_index,
				   .ndm_state = NUD_PERMANENT };
	begin(&b, RTM_DELNEIGH, NLM_F_ACK, &neighbour, sizeof neighbour);
	put(&b, NDA_DST, &w->address, sizeof w->address);
	exchange(host, &b, "neighbour");

	struct ifinfomsg link = {0};
	b.length = 0;
	begin(&b, RTM_DELLINK, NLM_F_ACK | NLM_F_ECHO, &link, sizeof link);
	put_string(&b, IFLA_IFNAME, w->host);
	if (pipe2(alive, O_CLOEXEC))
		fail("pipe");
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		/* The pipe's end stays open: it tells the parent that this process lives. */
		close(0), close(1), close(2), close(alive[0]);
		_exit(send(host, b.bytes, b.length, 0) < 0);
	}
	close(alive[1]);
	struct pollfd fds[] = { { .fd = host, .events = POLLIN }, { .fd = alive[0], .events = POLLIN } };
	if (poll(fds, 2, -1) < 0 || !fds[0].revents)
		fail("child");
	char answer[8192];
	struct nlmsghdr *message = (struct nlmsghdr *)answer;
	if (recv(host, answer, sizeof answer, 0) < 0 || message->nlmsg_type != RTM_DELLINK) {
		errno = message->nlmsg_type == NLMSG_ERROR ?
			-((struct nlmsgerr *)NLMSG_DATA(message))->error : EPROTO;
		fail("delete link");
	}
}

int main(int count, char **words)
{
	struct wanted w = {0};
	unsigned int mac[6], prefix;
	char text[INET_ADDRSTRLEN];
	if (count != 8) {
		fprintf(stderr, "usage: floor add|del NETNS BRIDGE LINK ADDRESS/PREFIX GATEWAY MAC\n");
		return 2;
	}
	w.bridge = words[3], w.host = words[4];
	w.bridge_index = if_nametoindex(w.bridge);
	if (!w.bridge_index)
		fail(w.bridge);
	if (sscanf(words[5], "%15[0-9.]/%u", text, &prefix) != 2 || prefix < 1 || prefix > 31 ||
	    inet_pton(AF_INET, text, &w.address) != 1 || inet_pton(AF_INET, words[6], &w.gateway) != 1 ||
	    sscanf(words[7], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
		fprintf(stderr, "floor: address, gateway or MAC is none\n");
		return 2;
	}
	w.prefix = prefix;
	for (int i = 0; i < 6; i++)
		w.mac[i] = mac[i];
	snprintf(w.comment, sizeof w.comment, "floor/%.80s/eth0", w.host);
	if (!strcmp(words[1], "add"))
		add(words[2], &w);
	else if (!strcmp(words[1], "del"))
		del(&w);
	else
		return 2;
	return 0;
}
