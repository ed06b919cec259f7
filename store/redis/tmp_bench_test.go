package redis
import ("testing";"context";"time";"fmt";"github.com/redis/go-redis/v9";"github.com/goferhq/queue/store")
func BenchmarkTmp(b *testing.B){
 c:=redis.NewClient(&redis.Options{Addr:"127.0.0.1:7790",MaxRetries:-1}); defer c.Close()
 s:=New(c,"b:"); cc,cancel:=context.WithCancel(context.Background()); defer cancel()
 v:=make([]byte,300)
 for n,ctx:=range map[string]context.Context{"plain":context.Background(),"cancel":cc}{
 b.Run("get-"+n,func(b *testing.B){b.ReportAllocs(); for range b.N{ s.Get(ctx,"k")}})
 b.Run("set-"+n,func(b *testing.B){b.ReportAllocs(); for range b.N{ s.Set(ctx,"k",v,time.Minute)}})
 b.Run("setnx-"+n,func(b *testing.B){b.ReportAllocs(); for range b.N{ s.SetNX(ctx,"k",v,time.Minute)}})
 b.Run("apply1000-"+n,func(b *testing.B){b.ReportAllocs(); ops:=make([]store.Op,1000); for i:=range ops{ops[i]=store.Op{Verb:store.OpSet,Key:fmt.Sprintf("k%d",i),Value:v,TTL:time.Minute}}; for b.Loop(){ s.Apply(ctx,ops)}})
 b.Run("list1000-"+n,func(b *testing.B){b.ReportAllocs(); for b.Loop(){ s.List(ctx,"k")}})
 }
 b.Run("rawget",func(b *testing.B){b.ReportAllocs();for range b.N{c.Get(cc,"b:k")}})
}
