// Package lab makes a cluster on one machine: nodes out of network namespaces,
// the wire between them, weft on each and a pod behind a bridge on each. It is
// `weft lab`, and the Go API that end-to-end tests drive.
//
// # Theory of operation
//
//	┌ n1 (pod) ┐   ┌ n1/host ────────────────┐        ┌ switch ──────────┐
//	│    eth0 ─┼───┼─ pod ─ cni0   flannel0  │        │                  │
//	│ 10.244.1.2   │  10.244.1.1 ──► weft up │        │                  │
//	└──────────┘   │                   eth0 ─┼────────┼─ n1 ─┐           │
//	               │             10.99.0.1   │        │   bridge underlay│
//	               └─────────────────────────┘        │      │           │
//	┌ n2 ──────┐   ┌ n2/host ─────────── eth0 ┼───────┼─ n2 ─┘ etcd      │
//	…                                                 └──────────────────┘
//
// Every box is a [space.Space], a network namespace that lives in a thread of
// this process. [New] makes the boxes and wires; [Lab.Up] starts weft in each
// node and waits, without polling, for its sd_notify; by the subnet.env that
// weft has written the pod then gets its address, its MTU and its route, as a
// CNI plugin would do it. Nodes ask for subnets by their own number, so n2 has
// 10.244.2.0/24 unless the store knows better. With the wireguard backend the
// device is flannel-wg, and each node has its key and its socket for wg(8) in a
// directory of its own, below [Options].Dir. There is its control socket too,
// which commands at the node and at its pod are told of by $WEFT_SOCKET.
//
// # Processes
//
// On the command line a lab is a process of its own, in namespaces of its own:
//
//	weft lab up ──clone(NEWUSER|NEWPID|NEWNET|NEWNS)──► weft lab daemon (pid 1, init)
//	     │                                                └► weft lab daemon: New, Up,
//	weft lab exec n1 -- cmd ──lab.sock, fds by SCM_RIGHTS──► start cmd in the pod
//
// NEWUSER makes its caller root in there, and only in there; real root does
// without. NEWPID makes the kernel kill whatever was started in the lab when
// its first process dies, however it dies. NEWNS lets /etc/hosts name the pods.
// Nothing is left in /run/netns, no link, route or rule of the host is touched.
//
// In a test that runs as root, New makes the same lab inside the test process;
// each namespace then dies with its thread.
//
// # What it relies on
//
// Go, a Linux that lets this user make namespaces, and /dev/net/tun. No ip, no
// nsenter, no ping, no iperf3, no etcd: links are made by netlink, and `weft
// lab tool` pings and moves data.
package lab
