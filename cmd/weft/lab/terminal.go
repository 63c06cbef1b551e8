package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
	"weft/cmd/weft/client"

	"golang.org/x/sys/unix"
)

// A command on a terminal gets one of its own, so that job control, line
// editing and full-screen programs work in it. Ours is raw meanwhile and only
// passes bytes through:
//
//	our terminal ◄─ raw ─► weft lab exec ◄─► master │ slave ◄─► command

// execTerminal runs r on a pseudo-terminal.
func (s state) execTerminal(c conn, r request) (int, error) {
	master, slave, err := openPTY()
	if err != nil {
		return 0, err
	}
	defer master.Close()
	r.TTY = true
	files := []*os.File{slave, slave, slave}
	if !client.IsTerminal(os.Stderr) {
		files[2] = os.Stderr
	}
	defer followSize(master)()
	err = c.send(r, files...)
	slave.Close() // else the end of the command would not be the end of the terminal
	if err != nil {
		return 0, err
	}
	restore, err := makeRaw(os.Stdin)
	if err != nil {
		return 0, err
	}
	defer restore()
	go io.Copy(master, os.Stdin) // ends with the process; there is no way to wake a terminal's reader
	shown := make(chan struct{})
	go func() {
		io.Copy(os.Stdout, master)
		close(shown)
	}()
	out, err := s.reply(c)
	finish(master, shown)
	return out.Exit, err
}

// finish shows what the command has written before it ended. What it left
// running in the background may hold the terminal open; nobody waits for that.
func finish(master *os.File, shown <-chan struct{}) {
	const patience = 50 * time.Millisecond
	if err := master.SetReadDeadline(time.Now().Add(patience)); err == nil {
		<-shown
	}
}

func openPTY() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var n int
	err = control(master, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return master, slave, nil
}

// followSize gives the terminal the size of ours, now and whenever ours
// changes, until stop.
func followSize(master *os.File) (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	done := make(chan struct{})
	copySize(master)
	go func() {
		for {
			select {
			case <-changed:
				copySize(master)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(done)
	}
}

// copySize is best effort: a wrong size is ugly, not wrong.
func copySize(master *os.File) {
	size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	_ = control(master, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
}

// control runs f on the descriptor of file without making it blocking, as
// File.Fd would.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}

// makeRaw stops the terminal from acting on what is typed, and returns the
// function that puts it back.
func makeRaw(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}
