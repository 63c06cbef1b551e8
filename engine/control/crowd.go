package control

import (
	"net"
	"net/http"
	"sync"
)

// A crowd is the connections that there are. Readers, who can be anybody in the
// socket's group, may not take the last of them: these are for who may change
// something, so that root can always ask.
type crowd struct {
	mu      sync.Mutex
	conns   map[net.Conn]bool // true: a reader's
	readers int
}

// enter adds a connection; false: there are too many of its sort.
func (c *crowd) enter(conn net.Conn, reader bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.conns) >= maxConns || reader && c.readers >= maxConns-ownConns {
		return false
	}
	c.conns[conn] = reader
	if reader {
		c.readers++
	}
	return true
}

// leave takes a connection out, if it is in.
func (c *crowd) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[conn] {
		c.readers--
	}
	delete(c.conns, conn)
}

// count keeps the number of connections within its bounds.
func (s *Server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if !s.crowd.enter(c, !s.trust.has(callerOf(c))) {
			c.Close()
		}
	case http.StateClosed:
		s.crowd.leave(c)
	}
}
