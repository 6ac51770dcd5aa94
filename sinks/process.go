package sinks

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Process tells a process from all others, also after the machine was started again or its number was
// given to another.
type Process struct {
	Host  string `json:"host"`
	PID   int    `json:"pid"`
	Start string `json:"start,omitempty"` // of the process, in ticks since the machine's
	Boot  string `json:"boot,omitempty"`  // the machine's start
	Space string `json:"space,omitempty"` // the namespace in which PID means something
}

// thisProcess leaves out what the system does not tell: then nobody can be sure that it is dead.
func thisProcess() Process {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	p := Process{Host: host, PID: os.Getpid()}
	p.Boot, p.Space = thisMachine()
	p.Start, _ = startOf(p.PID)
	return p
}

func thisMachine() (boot, space string) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		boot = strings.TrimSpace(string(id))
	}
	space, _ = os.Readlink("/proc/self/ns/pid")
	return boot, space
}

// dead tells that the process is surely over: it was of this machine, since its last start, and is not
// there any more.
func (p Process) dead() bool {
	boot, space := thisMachine()
	if p.Boot == "" || p.Space == "" || p.Start == "" || p.Boot != boot || p.Space != space {
		return false
	}
	if errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH) {
		return true
	}
	start, running := startOf(p.PID)
	return start != "" && (start != p.Start || !running)
}

// startOf reads when a process started, and whether it is more than an entry in the table of processes.
func startOf(pid int) (start string, running bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", true
	}
	// The second field is the program's name in parentheses and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return "", true
	}
	return fields[19], fields[0] != "Z" && fields[0] != "X"
}
