package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// followClock makes the wall clock of this process follow a file, see
// settableClock. The runtime asks the vDSO for the time, by way of a variable with
// the address of its function: that is replaced by the address of another, which
// asks the vDSO as well and adds what the file says. The monotonic clock stays.
func followClock(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	offset, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("cannot map %s: %w", file, err)
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	maps, err := mappings()
	if err != nil {
		return err
	}
	original, err := vdsoTime(memory, maps)
	if err != nil {
		return err
	}
	code, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return fmt.Errorf("cannot map memory for code: %w", err)
	}
	copy(code, addingClock(original, addressOf(offset)))
	return replacePointer(memory, maps, original, addressOf(code))
}

func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// addingClock is the code of int clock_gettime(clockid_t rdi, timespec *rsi).
func addingClock(original, offset uint64) []byte {
	var b []byte
	b = append(b, 0x57, 0x56)             // push rdi; push rsi
	b = append(b, 0x48, 0x83, 0xec, 0x08) // sub rsp, 8: aligned as for any call
	b = append(b, 0x48, 0xb8)             // mov rax, original
	b = binary.LittleEndian.AppendUint64(b, original)
	b = append(b, 0xff, 0xd0)             // call rax
	b = append(b, 0x48, 0x83, 0xc4, 0x08) // add rsp, 8
	b = append(b, 0x5e, 0x5f)             // pop rsi; pop rdi
	b = append(b, 0x85, 0xff, 0x75, 0x10) // test edi, edi; jne over what CLOCK_REALTIME gets
	b = append(b, 0x48, 0xba)             // mov rdx, offset
	b = binary.LittleEndian.AppendUint64(b, offset)
	b = append(b, 0x48, 0x8b, 0x12) // mov rdx, [rdx]
	b = append(b, 0x48, 0x01, 0x16) // add [rsi], rdx: the seconds
	return append(b, 0xc3)          // ret
}

// mapping is a line of /proc/self/maps.
type mapping struct {
	from, to uint64
	perms    string
	name     string
}

func mappings() ([]mapping, error) {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	var out []mapping
	for line := range strings.Lines(string(b)) {
		var m mapping
		var at, device, inode string
		// The name is missing from anonymous memory.
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s %s", &m.from, &m.to, &m.perms, &at, &device, &inode, &m.name); n >= 6 {
			out = append(out, m)
		}
	}
	return out, nil
}

// vdsoTime is the address of the vDSO's clock_gettime.
func vdsoTime(memory *os.File, maps []mapping) (uint64, error) {
	for _, m := range maps {
		if m.name != "[vdso]" {
			continue
		}
		b := make([]byte, m.to-m.from)
		if _, err := memory.ReadAt(b, int64(m.from)); err != nil {
			return 0, fmt.Errorf("cannot read the vDSO: %w", err)
		}
		image, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			return 0, fmt.Errorf("cannot understand the vDSO: %w", err)
		}
		symbols, err := image.DynamicSymbols()
		if err != nil {
			return 0, fmt.Errorf("cannot understand the vDSO: %w", err)
		}
		for _, s := range symbols {
			if s.Name == "__vdso_clock_gettime" {
				return m.from + s.Value, nil
			}
		}
	}
	return 0, errors.New("there is no vDSO with a clock")
}

// replacePointer replaces a pointer in the variables of the program.
func replacePointer(memory *os.File, maps []mapping, from, to uint64) error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	wanted := binary.LittleEndian.AppendUint64(nil, from)
	end := uint64(0) // of the program so far
	for _, m := range maps {
		// Variables that begin as zero have memory without a name, behind the others.
		if m.name != self && (m.name != "" || m.from != end) {
			continue
		}
		end = m.to
		if !strings.HasPrefix(m.perms, "rw") {
			continue
		}
		b := make([]byte, m.to-m.from)
		if _, err := memory.ReadAt(b, int64(m.from)); err != nil {
			return fmt.Errorf("cannot read variables: %w", err)
		}
		for i := 0; i+8 <= len(b); i += 8 {
			if bytes.Equal(b[i:i+8], wanted) {
				_, err := memory.WriteAt(binary.LittleEndian.AppendUint64(nil, to), int64(m.from)+int64(i))
				return err
			}
		}
	}
	return errors.New("no variable has the address of the vDSO's clock")
}
