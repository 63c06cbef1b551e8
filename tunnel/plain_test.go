package tunnel

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The plain device carries one packet for each call, both ways, and says what
// it cannot do.
func TestPlain(t *testing.T) {
	tunSpace(t)
	d, err := OpenPlain(TUNOptions{Name: tunName, Allow: allTUN, Stop: stopper(t)})
	must(t, err)
	defer d.Close()
	linkUp(t)
	if d.Features() != 0 || d.Name() != tunName || d.Probe() != nil {
		t.Errorf("%s offers %v", d.Name(), d.Features())
	}
	want := train(0, 5, 1200, 3)
	sendTrain(t, "10.5.2.9:4000", want)
	got, batches := read(t, d, len(want))
	sameDatagrams(t, got, want)
	if len(batches) != len(want) {
		t.Errorf("%d reads for %d packets", len(batches), len(want))
	}

	c := listen(t, "10.5.1.0:5000")
	g := NewGather()
	p := finish(udpPacket("10.5.2.9:4000", "10.5.1.0:5000", want[0]))
	must(t, d.Write(g, Offload{}, [][]byte{p[:20], p[20:30], nil, p[30:]}))
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 2000)
	n, err := c.Read(buf)
	if err != nil || !bytes.Equal(buf[:n], want[0]) {
		t.Errorf("%d bytes arrive, %v", n, err)
	}
	for _, o := range []Offload{partial(p), {GSO: gsoUDP, GSOSize: 100}} {
		if err := d.Write(g, o, [][]byte{p}); err == nil {
			t.Errorf("a packet with %+v is written", o)
		}
	}
}

// Its descriptor is not inherited by child processes.
func TestPlainCloseOnExec(t *testing.T) {
	tunSpace(t)
	d, err := OpenPlain(TUNOptions{Name: tunName, Stop: stopper(t)})
	must(t, err)
	defer d.Close()
	conn, err := d.file.SyscallConn()
	must(t, err)
	var flags int
	must(t, conn.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFD, 0) }))
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v", flags, err)
	}
}
