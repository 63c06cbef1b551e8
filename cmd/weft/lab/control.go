package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The control socket is a SOCK_SEQPACKET unix socket of mode 0600. Each
// message is one JSON object. A connection carries one request:
//
//	info                     → reply with Info
//	start|stop|kill NODE     → reply
//	down                     → the connection ends when the lab has
//	exec PLACE, with stdin, stdout and stderr as SCM_RIGHTS
//	                         → reply with Exit when the command has ended;
//	                           until then further requests "signal"
//
// A client of exec that goes away takes its command with it.
type request struct {
	Op     string   `json:"op"`
	Target string   `json:"target,omitempty"` // node or place
	Path   string   `json:"path,omitempty"`   // of the program, for exec
	Argv   []string `json:"argv,omitempty"`
	Dir    string   `json:"dir,omitempty"`
	Env    []string `json:"env,omitempty"`
	TTY    bool     `json:"tty,omitempty"` // stdin is a terminal of the command's own
	Signal int      `json:"signal,omitempty"`
}

type reply struct {
	Error string `json:"error,omitempty"`
	Info  *Info  `json:"info,omitempty"`
	Exit  int    `json:"exit,omitempty"`
}

// Info describes a lab that is up.
type Info struct {
	Name    string     `json:"name"`
	Backend string     `json:"backend"`
	Store   string     `json:"store"`
	Dir     string     `json:"dir"`
	PID     int        `json:"pid,omitempty"`
	Seconds float64    `json:"ready_seconds"` // from the start until all pods reached each other
	Nodes   []NodeInfo `json:"nodes"`
}

// NodeInfo describes one node of a lab.
type NodeInfo struct {
	Name     string `json:"name"`
	Underlay string `json:"underlay"`
	Port     int    `json:"port,omitempty"`
	Socket   string `json:"socket"` // the control socket of its weft
	Subnet   string `json:"subnet,omitempty"`
	Subnet6  string `json:"subnet6,omitempty"`
	Pod      string `json:"pod,omitempty"`
	Pod6     string `json:"pod6,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Running  bool   `json:"running"`
}

// maxMessage is the longest message in bytes; an environment has to fit.
const maxMessage = 1 << 20

// A conn is one end of a control connection.
type conn struct{ *net.UnixConn }

func dial(path string) (conn, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return conn{}, err
	}
	return conn{c}, c.SetWriteBuffer(maxMessage)
}

func (c conn) send(v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, oob, nil)
	if errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("arguments and environment are too long for the control socket (%d bytes): %w", len(b), err)
	}
	return err
}

// receive reads one message into v and returns the files that came with it.
func (c conn) receive(v any) ([]*os.File, error) {
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(3*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	files, err := filesOf(oob[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("message on the control socket is too long")
	}
	if err == nil {
		err = json.Unmarshal(buf[:n], v)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// filesOf takes descriptors out of a control message. They have close-on-exec
// set: ReadMsgUnix asks for MSG_CMSG_CLOEXEC.
func filesOf(oob []byte) (files []*os.File, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // some other control message
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
