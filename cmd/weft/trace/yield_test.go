package trace

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A process that steps back has the lower priority in each of its threads, also
// in those that come later. It is another process: there is no way back.
func TestStepBack(t *testing.T) {
	if os.Getenv("TEST_STEP_BACK") != "" {
		done := make(chan struct{})
		for range 8 { // threads that are there
			go func() { exec.Command("true").Run(); done <- struct{}{} }()
			<-done
		}
		stepBack()
		for range 8 {
			go func() { exec.Command("true").Run(); done <- struct{}{} }()
			<-done
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			stat, err := os.ReadFile("/proc/self/task/" + task.Name() + "/stat")
			if err != nil {
				continue // it has ended
			}
			_, rest, _ := strings.Cut(string(stat), ") ")
			if nice := strings.Fields(rest)[16]; nice != "10" { // field 19 of proc(5)'s stat
				t.Errorf("thread %s has niceness %s", task.Name(), nice)
			}
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStepBack$")
	cmd.Env = append(os.Environ(), "TEST_STEP_BACK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
