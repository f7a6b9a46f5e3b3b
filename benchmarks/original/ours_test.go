package rio

import (
	"context"
	"io/ioutil"
	"log"
	"sync"
	"testing"
	"time"
)

// Quiet callbacks and bridges: the work of benchmarks/ours.py, a limit of 1 s and 3 retries on each task.

func quietTask(*BridgeConnection) *FutureTaskResponse {
	return &FutureTaskResponse{ResponseCode: 200, Data: 1}
}

func quietBridge(interface{}) *BridgeConnection {
	return &BridgeConnection{}
}

// A request consumes its tasks, so each one builds them.
func quietRequest() *Request {
	tasks := make([]*FutureTask, 4)
	for i := range tasks {
		tasks[i] = &FutureTask{Callback: quietTask, Timeout: time.Second, RetryCount: 3}
	}
	return &Request{
		Tasks:            tasks,
		Bridges:          []Bridge{quietBridge, quietBridge, quietBridge},
		CompletedChannel: make(chan bool),
		Ctx:              context.Background(),
	}
}

func postAndWait(balancer *Balancer) {
	request := quietRequest()
	if err := balancer.PostJob(request); err != nil {
		panic(err)
	}
	<-request.CompletedChannel
}

func BenchmarkQuietChain(b *testing.B) {
	log.SetOutput(ioutil.Discard)
	balancer := GetBalancer(10, 2)
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		postAndWait(balancer)
	}
}

// So many goroutines share b.N requests.
func submitters(b *testing.B, number, buffer int) {
	log.SetOutput(ioutil.Discard)
	balancer := GetBalancer(10, buffer)
	b.ResetTimer()
	var group sync.WaitGroup
	for i := 0; i < number; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for j := 0; j < b.N/number; j++ {
				postAndWait(balancer)
			}
		}()
	}
	group.Wait()
}

func BenchmarkQuietSubmitters(b *testing.B) { submitters(b, 100, 2) }

func BenchmarkQuietSubmittersRoom(b *testing.B) { submitters(b, 100, 100) }
