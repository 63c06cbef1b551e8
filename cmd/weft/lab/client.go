package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
	"weft/cmd/weft/client"

	"golang.org/x/sys/unix"
)

// ask sends one request to a lab and returns its reply.
func (s state) ask(r request) (reply, error) {
	c, err := s.dial()
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	if err := c.send(r); err != nil {
		return reply{}, fmt.Errorf("lab %q: %w", s.name, err)
	}
	return s.reply(c)
}

func (s state) dial() (conn, error) {
	c, err := dial(s.socket())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return c, fmt.Errorf("lab %q is not up; start it with: %s", s.name, s.command("up"))
	}
	return c, err
}

func (s state) reply(c conn) (r reply, err error) {
	if _, err := c.receive(&r); err != nil {
		return r, fmt.Errorf("lab %q went away: %w", s.name, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// down ends a lab and returns when nothing is left of it. One that does not
// answer is killed.
func (s state) down() error {
	const patience = 5 * time.Second
	c, err := s.dial()
	if err == nil {
		defer c.Close()
		err = c.send(request{Op: "down"})
	}
	if err != nil && !s.running() {
		return err
	}
	deadline := time.Duration(0) // it hears nothing: kill it at once
	if err == nil {
		deadline = patience
	}
	killed := make(chan error, 1)
	timer := time.AfterFunc(deadline, func() { killed <- s.kill() })
	err = s.awaitEnd()
	if !timer.Stop() {
		err = errors.Join(err, <-killed)
	}
	if err != nil {
		return err
	}
	return s.forget()
}

// exec runs argv at a place of the lab, on our own standard files, and returns
// its exit code. The command finds this weft even where $PATH does not have it.
func (s state) exec(place string, argv []string) (code int, err error) {
	if err := findSelf(); err != nil {
		return 0, err
	}
	r := request{Op: "exec", Target: place, Argv: argv, Env: os.Environ()}
	if r.Path, err = exec.LookPath(argv[0]); err != nil {
		return 127, err
	}
	if r.Path, err = filepath.Abs(r.Path); err != nil {
		return 127, err
	}
	if r.Dir, err = os.Getwd(); err != nil {
		return 0, err
	}
	c, err := s.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if client.IsTerminal(os.Stdin) && client.IsTerminal(os.Stdout) {
		return s.execTerminal(c, r)
	}
	return s.execPlain(c, r)
}

// findSelf adds the directory of this program to the end of $PATH, where it
// hides nothing.
func findSelf() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Dir(self)
	if old := os.Getenv("PATH"); old != "" {
		path = old + string(filepath.ListSeparator) + path
	}
	return os.Setenv("PATH", path)
}

// execPlain lets the command have our files as they are, and our signals.
func (s state) execPlain(c conn, r request) (int, error) {
	got := make(chan os.Signal, 8)
	signal.Notify(got, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(got)
	if err := c.send(r, os.Stdin, os.Stdout, os.Stderr); err != nil {
		return 0, err
	}
	go func() {
		for sig := range got {
			// A connection that fails here fails the reply below as well.
			_ = c.send(request{Op: "signal", Signal: int(sig.(unix.Signal))})
		}
	}()
	out, err := s.reply(c)
	return out.Exit, err
}
