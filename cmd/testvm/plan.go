package main

// Where things lie in the guest.
const (
	guestPlan    = "/plan.json"
	guestIndex   = "/modules/index.json"
	guestModules = "/modules"
	guestTests   = "/tests"
	guestWeft    = "/usr/bin/weft"
	guestPath    = "/usr/bin"
	reportPort   = "/dev/ttyS1"
)

// A plan is what the host asks of the guest. It travels in the image.
type plan struct {
	Modules []string // to load before anything else; whether they do is reported
	Steps   []step
	Shell   bool // instead of the steps: a shell on the console
}

// A step is a process to run to its end.
type step struct {
	Name string
	Dir  string
	Args []string
	Env  []string
}

// What an event is about.
const (
	eventBoot   = "boot"   // Text: the kernel's release; Seconds: since the kernel began
	eventModule = "module" // Name; Text: why it could not be loaded, or empty
	eventStart  = "start"  // Name of a step
	eventOutput = "output" // Text: a line of the step, without its end
	eventEnd    = "end"    // Name, Code, Seconds; Text: why it could not run, or empty
	eventDone   = "done"   // all steps have run
	eventFail   = "fail"   // Text: why the guest gives up
)

// An event is what the guest tells the host: one line of JSON on the second
// serial port.
type event struct {
	Kind    string  `json:"kind"`
	Name    string  `json:"name,omitempty"`
	Text    string  `json:"text,omitempty"`
	Code    int     `json:"code,omitempty"` // exit status, or -1 after a signal
	Seconds float64 `json:"seconds,omitempty"`
}
