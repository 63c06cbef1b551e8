// Package nstest gives a test a network namespace of its own.
//
// # Theory of operation
//
// A network namespace belongs to a thread, and Go moves goroutines between
// threads. [Enter] therefore locks the test's goroutine to its thread and
// moves that thread. What the goroutine opens from then on (sockets, files
// below /proc/sys/net) is in the namespace; what it starts with a go statement
// is not, but may use such sockets. The end of the test moves the thread back,
// and the namespace goes with the last socket in it.
package nstest

import (
	"errors"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Enter puts the test's thread into an empty network namespace, whose loopback
// is down, until the test ends. It skips the test where that is not allowed.
func Enter(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	old, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		old.Close()
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EPERM) {
			t.Skip("needs a network namespace: run as root, or the test binary under unshare -Urn")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Set(old); err == nil { // otherwise the thread ends with the test
			runtime.UnlockOSThread()
		}
		ns.Close()
		old.Close()
	})
}
