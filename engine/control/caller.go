package control

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A caller is who is at the other end of a connection, as the kernel saw it when
// it was made.
type caller struct {
	uid   uint32
	known bool
}

type callerKey struct{}

// withCaller asks the kernel who is at the other end of c.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, callerKey{}, callerOf(c))
}

// callerIn returns who sent a request; not known if nobody asked.
func callerIn(r *http.Request) caller {
	who, _ := r.Context().Value(callerKey{}).(caller)
	return who
}

// callerOf returns the credentials of a unix socket's peer (SO_PEERCRED,
// unix(7)); not known of any other kind of connection.
func callerOf(c net.Conn) (who caller) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return caller{}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return caller{}
	}
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			who = caller{uid: cred.Uid, known: true}
		}
	})
	if err != nil {
		return caller{}
	}
	return who
}

// overflowUID is what the kernel tells of a user that has no number in our user
// namespace (user_namespaces(7)), unless a sysctl says otherwise.
const overflowUID = 65534

// A trust says which users may change something.
type trust struct {
	own      uint32 // the user that the process runs as
	overflow uint32 // stands for all users without a number of their own
	allUsers bool   // every user has a number here, so overflow is one user
}

// ownTrust is the trust of this process, in its user namespace.
func ownTrust() trust {
	t := trust{own: uint32(os.Geteuid()), overflow: overflowUID}
	if b, err := os.ReadFile("/proc/sys/kernel/overflowuid"); err == nil {
		if n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 32); err == nil {
			t.overflow = uint32(n)
		}
	}
	if b, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		t.allUsers = mapsAll(string(b))
	}
	return t
}

// mapsAll reports whether a uid_map leaves no user out: one line of all 2³²-1
// users, as in the first user namespace.
func mapsAll(uidMap string) bool {
	f := strings.Fields(uidMap)
	return len(f) == 3 && f[0] == "0" && f[2] == "4294967295"
}

// has reports whether who has the right to change.
func (t trust) has(who caller) bool {
	return who.known && !t.stranger(who) && (who.uid == 0 || who.uid == t.own)
}

// stranger reports whether who may be any user without a number of his own.
func (t trust) stranger(who caller) bool { return who.uid == t.overflow && !t.allUsers }

// mayChange returns nil if who may do what changes something, and else an error
// that tells how to come by the right.
func (t trust) mayChange(who caller, what string) error {
	if t.has(who) {
		return nil
	}
	const ask = "%s needs the right to change, which root and the user that weft runs as have (uid %d); "
	text := fmt.Sprintf(ask+"you are uid %d: try sudo", what, t.own, who.uid)
	switch {
	case !who.known:
		text = fmt.Sprintf(ask+"who you are is not known", what, t.own)
	case t.stranger(who):
		text = fmt.Sprintf(ask+"you are a user from outside the user namespace that weft runs in: run the command inside it", what, t.own)
	}
	return &Error{Message: text, Status: http.StatusForbidden}
}
