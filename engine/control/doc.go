// Package control is how a running node is asked about itself: the questions and
// answers as JSON, and the server that answers them on a unix socket.
//
// # Theory of operation
//
// A node ([Node]) can be asked; this package says in which words. The words are
// a contract: a client of the same major [Schema] understands a server that is
// older or newer, so fields are added but never change their meaning. All
// durations are in seconds, all sizes in bytes, all times RFC 3339 in UTC.
//
// Two rights are kept apart. Reading ([Status], drops, metrics, [Explanation])
// is for whoever may connect to the socket, which is what its group is for. It
// shows headers of packets but nothing that pods say: the records of drops end
// where the payload begins. One such question makes the node send something:
// to tell the way back, an Explanation asks the peer, with one small datagram.
// Changing, which is all that sends more than that or shows what pods say (trace,
// ping, doctor's probes, the whole records of drops), is for root and for the
// user that the node runs as, by the credentials that the kernel tells of the
// other end (SO_PEERCRED, unix(7)).
//
//	GET  /v1/                  Index
//	GET  /v1/status            Status
//	GET  /v1/drops             a trace stream (see package trace) that ends
//	GET  /v1/explain?src&dst&proto&port&size&df
//	                           Explanation
//	GET  /v1/metrics           Prometheus text
//	POST /v1/trace?filter&snaplen&sample&count&for
//	                           a trace stream; for is in seconds. If the body's
//	                           length is not known (chunked), its end asks for
//	                           the end of the trace: what the node still has to
//	                           tell of, what was lost, and the end "stopped"
//	POST /v1/ping              PingRequest; answered by a PingReply a line
//	POST /v1/doctor            Report
//
// An error is an [Error] with a status of 400 or above: 400 for a request that
// is wrong, which includes parameters that the server does not know; 403 for a
// right that is missing; 429 when too many ask for the same at once; 503 as long
// as there is no node to ask. An error in the middle of a ping is the last line.
// Every answer tells in its headers [HeaderSchema] and [HeaderVersion] who gave
// it.
//
// # The server
//
// Nobody who asks can harm the node: each request has a time limit, a bound on
// its size and, if it lasts or asks others, a bound on how many there may be; a
// client that does not read, or does not send the body it announced, is given up
// after a while and holds up nothing but itself. Some of the connections are kept
// for those who may change something, so that readers cannot shut them out. A server
// that cannot listen is a line in the log. When the node stops, what is under
// way ends at once, a trace with a word about why.
//
// The socket is at no time open to more than it will be in the end: it is made
// with mode 0600, given its group, then opened to it, and only then listens.
package control
