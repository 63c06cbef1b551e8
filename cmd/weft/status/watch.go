package status

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/client"
	"weft/engine/control"
)

// Controls of a terminal (xterm's alternate screen, ECMA-48).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// A screen is what redraw shows now.
type screen struct {
	page  *page
	view  view
	err   error // the node did not answer
	top   int   // first line that is shown of what can be scrolled
	every time.Duration
}

// redraw shows the page in place, every so often and at a change of the
// terminal's size, until q is pressed or ctx ends.
func (p *page) redraw(ctx context.Context, every time.Duration, in, out *os.File) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	keys, restore := readKeys(in)
	defer restore()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	fmt.Fprint(out, enterScreen)
	defer fmt.Fprint(out, leaveScreen)
	tick := time.NewTicker(every)
	defer tick.Stop()
	return p.watchWith(ctx, events{keys, resized, tick.C, every}, func(s *screen) error {
		width, height := size(out)
		_, err := io.WriteString(out, s.draw(width, height))
		return err
	})
}

// events are what changes the screen, besides answers.
type events struct {
	keys    <-chan byte
	resized <-chan os.Signal
	tick    <-chan time.Time
	every   time.Duration // of tick
}

// watchWith draws the screen after each event. It asks beside that, one question
// at a time, so that keys are heeded while a node hangs.
func (p *page) watchWith(ctx context.Context, e events, draw func(*screen) error) error {
	s := &screen{page: p, every: e.every}
	answers := make(chan reply, 1)
	asking := false
	ask := func() {
		if asking {
			return
		}
		asking = true
		go func() {
			now, err := p.status(ctx)
			answers <- reply{now, err}
		}()
	}
	for ask(); ; {
		select {
		case <-e.tick:
			ask()
			continue
		case a := <-answers:
			asking = false
			s.update(a)
		case <-e.resized:
		case k := <-e.keys:
			if s.key(k) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
		if s.view.now.Time.IsZero() && s.err == nil {
			continue // nothing is known yet
		}
		if err := draw(s); err != nil {
			return err
		}
	}
}

// A reply is what came of a question.
type reply struct {
	now control.Status
	err error
}

// update takes in a reply.
func (s *screen) update(a reply) {
	s.err = a.err
	if a.err != nil {
		s.view = view{}
		return
	}
	last := s.view.now
	s.view = view{now: a.now}
	if !last.Time.IsZero() {
		s.view.before = &last
	}
}

// key does what a key stands for; true: quit.
func (s *screen) key(k byte) (quit bool) {
	switch k {
	case 'q', 4: // and Ctrl-D
		return true
	case 'j', 'B': // the last byte of an arrow's sequence
		s.top++
	case 'k', 'A':
		s.top = max(0, s.top-1)
	case 'g':
		s.top = 0
	}
	return false
}

// draw is all that is written to show the screen once.
func (s *screen) draw(width, height int) string {
	head, rest := s.content()
	foot := line{{fmt.Sprintf("%s, every %v   q quits, j and k scroll", s.view.now.Time.Format(time.TimeOnly), s.every), faint}}
	if s.err != nil {
		foot = line{{fmt.Sprintf("again every %v   q quits", s.every), faint}}
	}
	room := max(0, height-len(head)-1)
	s.top = min(s.top, max(0, len(rest)-room))
	rest = rest[s.top:min(len(rest), s.top+room)]
	lines := append(append(head, rest...), foot)
	lines = lines[:min(len(lines), height)]
	var b strings.Builder
	b.WriteString(home)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(l.cut(width).text(s.page.colors) + clearLine)
	}
	b.WriteString(clearBelow)
	return b.String()
}

// content is what there is to see: what stays, and what can be scrolled.
func (s *screen) content() (head, rest []line) {
	if s.err != nil {
		l := heading("state")
		l.add("down: "+s.err.Error(), red)
		return []line{l}, nil
	}
	if s.page.peer == "" {
		return s.view.lines()
	}
	lines, _, err := s.page.content(s.view)
	if lines == nil {
		lines = []line{{{client.Clean(err.Error()), red}}}
	}
	return lines, nil
}

// size is the size of a terminal in characters, or what is usual.
func size(f *os.File) (width, height int) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 || w.Row == 0 {
		return 80, 24
	}
	return int(w.Col), int(w.Row)
}

// readKeys lets each key of a terminal be told at once, and not be shown. restore
// makes the terminal what it was. What is no terminal has no keys.
func readKeys(in *os.File) (keys <-chan byte, restore func()) {
	fd := int(in.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, func() {}
	}
	t := *old
	t.Lflag &^= unix.ICANON | unix.ECHO
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &t); err != nil {
		return nil, func() {}
	}
	pressed := make(chan byte)
	go func() { // lives as long as the program: a read of a terminal cannot be called back
		b := make([]byte, 1)
		for {
			if n, err := in.Read(b); n != 1 || err != nil {
				return
			}
			pressed <- b[0]
		}
	}()
	return pressed, func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }
}
