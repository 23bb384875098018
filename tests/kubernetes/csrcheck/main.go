// What Kubernetes' own code says about certificate signing requests and node labels: a JSON line in, a JSON line out, in
// the order of the questions. It links the validators of the API server, of the controller-manager's signers and of the
// kubelet, in the version the lab runs; no rule is written down here a second time.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	kubeletapis "k8s.io/kubelet/pkg/apis"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
)

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: csrcheck requests|labels|sign"))
	}
	switch mode := os.Args[1]; mode {
	case "requests":
		ca, err := newAuthority()
		if err != nil {
			fail(err)
		}
		serve(runtime.NumCPU(), func(line []byte) (any, error) { return examine(line, ca) })
	case "labels":
		serve(1, examineLabel)
	case "sign":
		// One question at a time: the next is made with the answer.
		serve(1, newKeys().sign)
	default:
		fail(fmt.Errorf("%s: no such mode", mode))
	}
}

type question struct {
	line   []byte
	answer chan []byte
}

// serve answers each line of the input with one of the output, up to `workers` at a time.
func serve(workers int, answer func([]byte) (any, error)) {
	asked, ordered := make(chan question), make(chan chan []byte, 256)
	for range workers {
		go func() {
			for q := range asked {
				told, err := answer(q.line)
				if err != nil {
					fail(err)
				}
				text, err := json.Marshal(told)
				if err != nil {
					fail(err)
				}
				q.answer <- text
			}
		}()
	}
	go func() {
		input := bufio.NewReaderSize(os.Stdin, 1<<20)
		for {
			line, err := input.ReadBytes('\n')
			if err != nil {
				close(ordered)
				return
			}
			q := question{line, make(chan []byte, 1)}
			ordered <- q.answer
			asked <- q
		}
	}()
	output := bufio.NewWriterSize(os.Stdout, 1<<16)
	for answer := range ordered {
		output.Write(<-answer)
		output.WriteByte('\n')
		if len(ordered) == 0 {
			if err := output.Flush(); err != nil {
				return
			}
		}
	}
	output.Flush()
}

// examineLabel asks what the kubelet itself asks of --node-labels, and the list of names behind it alone.
func examineLabel(line []byte) (any, error) {
	var label struct{ Key, Value string }
	if err := json.Unmarshal(line, &label); err != nil {
		return nil, err
	}
	flags := options.KubeletFlags{NodeLabels: map[string]string{label.Key: label.Value}}
	refusal := ""
	if err := options.ValidateKubeletFlags(&flags); err != nil {
		refusal = err.Error()
	}
	return struct {
		Refusal   string `json:"refusal"`
		IsKubelet bool   `json:"isKubelet"`
	}{refusal, kubeletapis.IsKubeletLabel(label.Key)}, nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "csrcheck:", err)
	os.Exit(1)
}
