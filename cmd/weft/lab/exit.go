package lab

// An ExitError asks the program to end with a certain exit code. Its text is
// empty when there is nothing to add to what a command in the lab has said
// itself.
type ExitError struct {
	Code int
	Err  error // may be nil
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode returns the exit code that is asked for.
func (e *ExitError) ExitCode() int { return e.Code }
