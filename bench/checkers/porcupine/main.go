// Command porcupine judges histories with Porcupine, as the rival of our own linearizability checkers.
//
//	porcupine LIMIT_SECONDS FILE...
//
// A file is JSONL: a header (model, initial value, how failed operations count), then one operation a line with the
// positions of its call and return among all events. For each file one JSON line is printed: what Porcupine says within
// the limit ("unknown" past it), and the seconds of wall clock and processor that the check alone took.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log"
	"math"
	"os"
	"sort"
	"strconv"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

const longestLine = 1 << 26

type header struct {
	Model   string `json:"model"`
	Initial any    `json:"initial"`
	Fail    string `json:"fail"`
	ReadNil string `json:"read-nil"`
}

type line struct {
	Process int    `json:"p"`
	F       string `json:"f"`
	Key     any    `json:"k"`
	In      any    `json:"in"`
	Out     any    `json:"out"`
	Call    int64  `json:"call"`
	Return  *int64 `json:"ret"`
	Status  string `json:"st"`
}

type input struct {
	f        string
	key      any
	old, new any
}

type output struct {
	known   bool
	success bool
	value   any
}

type answer struct {
	File   string  `json:"file"`
	Answer string  `json:"answer"`
	Wall   float64 `json:"wall_s"`
	CPU    float64 `json:"cpu_s"`
}

func main() {
	limit, err := strconv.ParseFloat(os.Args[1], 64)
	if err != nil {
		log.Fatalf("not a number of seconds: %q", os.Args[1])
	}
	for _, path := range os.Args[2:] {
		head, operations := load(path)
		model := modelOf(head)
		before, start := processor(), time.Now()
		result := porcupine.CheckOperationsTimeout(model, operations, time.Duration(limit*float64(time.Second)))
		wall := time.Since(start).Seconds()
		told := answer{path, string(result), wall, processor() - before}
		encoded, err := json.Marshal(told)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(encoded))
	}
}

func processor() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		log.Fatal(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(used.Utime) + seconds(used.Stime)
}

func load(path string) (header, []porcupine.Operation) {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, longestLine)
	var head header
	var operations []porcupine.Operation
	for number := 0; scanner.Scan(); number++ {
		if number == 0 {
			if err := json.Unmarshal(scanner.Bytes(), &head); err != nil {
				log.Fatalf("%s: %v", path, err)
			}
			continue
		}
		var read line
		if err := json.Unmarshal(scanner.Bytes(), &read); err != nil {
			log.Fatalf("%s:%d: %v", path, number+1, err)
		}
		if operation, counts := operationOf(head, read); counts {
			operations = append(operations, operation)
		}
	}
	if err := scanner.Err(); err != nil {
		log.Fatal(err)
	}
	return head, operations
}

// operationOf returns an operation, or false for one that constrains nothing.
func operationOf(head header, read line) (porcupine.Operation, bool) {
	in := input{f: read.F, key: read.Key, new: read.In}
	if pair, ok := read.In.([]any); ok && read.F == "cas" {
		in.old, in.new = pair[0], pair[1]
	}
	out := output{known: true, success: true, value: read.Out}
	if read.Status == "fail" {
		if head.Fail != "cas-fail-observed" || read.F != "cas" {
			return porcupine.Operation{}, false
		}
		out.success = false
	} else if read.F == "read" && read.Status == "ok" && read.Out == nil && head.ReadNil == "unknown" {
		return porcupine.Operation{}, false
	}
	end := int64(math.MaxInt64)
	if read.Status == "info" || read.Return == nil {
		out.known = false
	} else {
		end = *read.Return
	}
	return porcupine.Operation{ClientId: read.Process, Input: in, Call: read.Call, Output: out, Return: end}, true
}

func modelOf(head header) porcupine.Model {
	switch head.Model {
	case "register", "cas-register":
		return porcupine.Model{Init: func() any { return head.Initial }, Step: register}
	case "mutex":
		return porcupine.Model{Init: func() any { return head.Initial }, Step: mutex}
	case "multi-register":
		encoded, err := json.Marshal(head.Initial)
		if err != nil {
			log.Fatal(err)
		}
		return porcupine.Model{Init: func() any { return string(encoded) }, Step: registers, Hash: hashed}
	case "queue":
		return porcupine.Model{Init: func() any { return "" }, Step: queue, Hash: hashed}
	case "kv-append":
		return porcupine.Model{Partition: byKey, Init: func() any { return head.Initial }, Step: appending, Hash: hashed}
	}
	log.Fatalf("no model %q here", head.Model)
	return porcupine.Model{}
}

func register(state, given, told any) (bool, any) {
	in, out := given.(input), told.(output)
	switch in.f {
	case "write":
		return true, in.new
	case "read":
		return !out.known || out.value == state, state
	case "cas":
		succeeds := state == in.old
		if out.known && out.success != succeeds {
			return false, state
		}
		if succeeds {
			return true, in.new
		}
		return true, state
	}
	panic("no operation of a register: " + in.f)
}

func mutex(state, given, _ any) (bool, any) {
	acquires := given.(input).f == "acquire"
	return state.(bool) != acquires, acquires
}

// The state of several registers is a JSON object as a string: encoding/json sorts its names.
func registers(state, given, told any) (bool, any) {
	in, out := given.(input), told.(output)
	held := map[string]any{}
	if err := json.Unmarshal([]byte(state.(string)), &held); err != nil {
		log.Fatal(err)
	}
	steps := in.new
	if out.known {
		steps = out.value
	}
	for _, step := range steps.([]any) {
		micro := step.([]any)
		f, name, value := micro[0].(string), micro[1].(string), micro[2]
		if f == "write" {
			held[name] = value
		} else if out.known && value != nil && held[name] != value {
			return false, state
		}
	}
	encoded, err := json.Marshal(held)
	if err != nil {
		log.Fatal(err)
	}
	return true, string(encoded)
}

// The state of a queue is a string: comparable, and shared by its successors until one differs.
func queue(state, given, told any) (bool, any) {
	in, out, held := given.(input), told.(output), state.(string)
	if in.f == "enqueue" {
		return true, held + fmt.Sprint(in.new) + " "
	}
	end := 0
	for end < len(held) && held[end] != ' ' {
		end++
	}
	if held == "" {
		return !out.known || out.value == nil, held
	}
	fits := !out.known || (out.value != nil && fmt.Sprint(out.value) == held[:end])
	return fits, held[end+1:]
}

func appending(state, given, told any) (bool, any) {
	in, out := given.(input), told.(output)
	switch in.f {
	case "get":
		return !out.known || out.value == state, state
	case "put":
		return true, in.new
	case "append":
		return true, state.(string) + in.new.(string)
	}
	panic("no operation of a map: " + in.f)
}

func hashed(state any) uint64 {
	sum := fnv.New64a()
	sum.Write([]byte(state.(string)))
	return sum.Sum64()
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[any][]porcupine.Operation{}
	for _, operation := range history {
		key := operation.Input.(input).key
		parts[key] = append(parts[key], operation)
	}
	keys := make([]string, 0, len(parts))
	for key := range parts {
		keys = append(keys, fmt.Sprint(key))
	}
	sort.Strings(keys)
	out := make([][]porcupine.Operation, 0, len(keys))
	for _, key := range keys {
		out = append(out, parts[key])
	}
	return out
}
