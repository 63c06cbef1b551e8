// Package e2e tests weft from end to end: the real binary, run by
// weft/cmd/weft/lab on nodes made of network namespaces, watched from the pods.
// It has tests and their helpers only.
//
// # Theory of operation
//
// Each test makes a lab, or shares one between subtests that leave it as they
// found it, and then does to it what happens to clusters: links shrink, nodes
// restart, etcd goes away, strangers send rubbish. What it asserts is seen from
// outside alone: bytes that arrive in a pod, errors that a pod's kernel reports
// to its sockets, kernel state of a node, keys in etcd, and what weft logs.
//
//	    ┌ pod n1 ┐      ┌ node n1 ─────┐   switch   ┌ node n2 ─────┐      ┌ pod n2 ┐
//	test │ sockets ├─────┤ weft up      ├─────┬─────┤ weft up      ├──────┤ sockets │ test
//	    └────────┘      └──────────────┘     │      └──────────────┘      └────────┘
//	                                  intruder, stock peer, etcd
//
// Sockets of the tests are opened inside the namespaces and used from the test
// process, so payloads are made, hashed and compared in one place. Nothing
// sleeps in order to synchronise: tests wait for readiness notifications, echo
// replies, log lines, bytes or ICMP errors, each within a limit.
//
// They need root, but for TestUserNS…, which show the same as a plain user.
// The binary is built once, or taken from $WEFT_BIN; so is wireguard-go, or from
// $WG_GO_BIN. On an emulated machine set
// $WEFT_E2E_SLOW: transfers are then shorter and limits longer.
package e2e
