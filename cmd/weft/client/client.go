package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"weft/engine/control"
)

// Env is the variable that names the socket if --socket does not.
const Env = "WEFT_SOCKET"

// Version is that of this program, for comparison with the daemon's; package main
// sets it before it runs a command. Empty: not compared.
var Version string

// Flag adds --socket to a command.
func Flag(cmd *cobra.Command) *string {
	return cmd.Flags().String("socket", "", "control `socket` of the node: a path, or its name (default $"+Env+", else the only one there is)")
}

// A Client asks one node. It may be used by many goroutines at once.
type Client struct {
	Socket Socket
	Warn   func(text string) // is told, once, that the daemon is another weft; to stderr unless it is replaced

	http     *http.Client
	patience time.Duration // for the head of an answer that the node has at once
	compared sync.Once
}

// headTime is how long the head of an answer may take to come. A daemon that does
// not know how to answer before a trace is stopped, or hangs, would keep us for
// ever.
const headTime = 10 * time.Second

// New returns a client of the node at socket: a path or a name; empty: as $WEFT_SOCKET
// says, and then the only one there is.
func New(socket string) (*Client, error) {
	s, err := find(cmp.Or(socket, os.Getenv(Env)), Dirs(os.Getenv))
	if err != nil {
		return nil, err
	}
	c := &Client{Socket: s, patience: headTime, Warn: func(text string) { fmt.Fprintln(os.Stderr, "weft:", text) }}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return control.Dial(ctx, s.Path) },
	}}
	return c, nil
}

// Close closes the connections that are kept for the next question.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends a request and returns the answer if it is one. An error that the
// daemon gave is a *control.Error. The head of the answer has to be there in
// time: in c's patience, and what the question itself takes.
func (c *Client) do(ctx context.Context, takes time.Duration, method, path string, body io.Reader) (*http.Response, error) {
	res, err := c.send(ctx, c.patience+takes, method, path, body)
	if err != nil {
		return nil, c.explain(err)
	}
	c.compared.Do(func() { c.compare(res.Header) })
	if res.StatusCode < http.StatusBadRequest {
		return res, nil
	}
	defer res.Body.Close()
	e := &control.Error{Status: res.StatusCode}
	if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("%s: %s %s: %s, and no word why: is it a weft that listens there?", c.Socket.Path, method, path, res.Status)
	}
	return nil, e
}

// A silence is the error of an answer whose head did not come in time.
type silence time.Duration

func (s silence) Error() string {
	return fmt.Sprintf("it does not answer within %v: the daemon hangs, or is an older weft; see its log, and restart it", time.Duration(s))
}

// send sends a request and waits for the head of the answer, no longer than
// patience or ctx. The transport lets go of a request only once its body has been
// read, so a body that can be closed is closed when nobody waits any more.
func (c *Client) send(ctx context.Context, patience time.Duration, method, path string, body io.Reader) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	if b, ok := body.(io.Closer); ok {
		context.AfterFunc(ctx, func() { b.Close() })
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://weft"+path, body)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	late := time.AfterFunc(patience, func() { cancel(silence(patience)) })
	res, err := c.http.Do(req)
	late.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // of what the transport says instead
		}
		cancel(nil)
		return nil, err
	}
	res.Body = &answerBody{res.Body, func() { cancel(nil) }}
	return res, nil
}

// An answerBody lets go of its request when it is closed.
type answerBody struct {
	io.ReadCloser
	release func()
}

// Close ends the answer, however much of it is left.
func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.release()
	return err
}

// get asks for a JSON object.
func get[T any](ctx context.Context, c *Client, takes time.Duration, method, path string) (answer T, err error) {
	res, err := c.do(ctx, takes, method, path, nil)
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("%s: %s: %w", c.Socket.Path, path, err)
	}
	return answer, nil
}

// explain words an error of the connection.
func (c *Client) explain(err error) error {
	at := c.Socket.Path
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err // the URL is ours and tells the user nothing
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer: %w", at, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied: %s", at, whoMay(at))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no such socket; start the node with \"weft up\"", at)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%s: nobody listens there any more; start the node with \"weft up\"", at)
	}
	return fmt.Errorf("%s: %w", at, err)
}

// whoMay tells who can connect to the socket at path.
func whoMay(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return "its directory is not open to this user; try sudo"
	}
	owner := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	if st.Mode&0o060 != 0o060 || st.Gid == 0 {
		return fmt.Sprintf("it is for root and user %s; try sudo, or start the daemon with --socket-group", owner)
	}
	group := strconv.FormatUint(uint64(st.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("it is for root, user %s and group %s; try sudo, or join the group: sudo usermod -aG %[2]s $USER, and log in again", owner, group)
}

// compare warns if the daemon is another weft than this one.
func (c *Client) compare(h http.Header) {
	schema, version := h.Get(control.HeaderSchema), h.Get(control.HeaderVersion)
	switch {
	case schema == "":
		c.Warn(c.Socket.Path + ": it does not say that it is a weft")
	case schema != strconv.Itoa(control.Schema):
		c.Warn(fmt.Sprintf("the daemon (weft %s) speaks schema %s, this weft %s schema %d: what is shown may be incomplete or wrong; restart the daemon with this weft",
			version, schema, Version, control.Schema))
	case Version != "" && version != Version:
		c.Warn(fmt.Sprintf("the daemon is weft %s, this is weft %s: restart the daemon to run this one", version, Version))
	}
}
