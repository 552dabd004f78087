/* The page at / when no web client is served: what runs, what waits, and where to go from here. */
#include "server/comfy.h"

const char rg_index_page[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>rylagraph</title>"
    "<meta name=\"viewport\" content=\"width=device-width\">"
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{background:#8882;padding:.1em .3em}img{max-width:12rem;margin:.2rem}progress{width:100%}</style>"
    "<h1>rylagraph</h1><p id=\"state\">connecting</p><progress id=\"bar\" value=\"0\" max=\"1\" hidden></progress>"
    "<p>ComfyUI's API answers here: POST a workflow in API form to <code>/prompt</code>.</p>"
    "<ul><li><a href=\"object_info\">/object_info</a>: node classes</li><li><a href=\"queue\">/queue</a></li>"
    "<li><a href=\"history\">/history</a></li><li><a href=\"system_stats\">/system_stats</a></li>"
    "<li><a href=\"models\">/models</a></li></ul><div id=\"pictures\"></div>"
    "<script>"
    "const $=i=>document.getElementById(i);"
    "function open(){const w=new WebSocket(location.href.replace(/^http/,'ws').replace(/[^/]*$/,'')+'ws');"
    "w.onmessage=e=>{if(typeof e.data!='string')return;const m=JSON.parse(e.data),d=m.data;"
    "if(m.type=='status'){const n=d.status.exec_info.queue_remaining;$('state').textContent=n?n+' in the queue':'idle';if(!n){$('bar').hidden=true;pictures()}}"
    "if(m.type=='progress'){$('bar').hidden=false;$('bar').value=d.value;$('bar').max=d.max}};"
    "w.onclose=()=>{$('state').textContent='not connected';setTimeout(open,1000)}}"
    "async function pictures(){const h=await(await fetch('history?max_items=8')).json(),p=$('pictures');p.replaceChildren();"
    "for(const e of Object.values(h).reverse())for(const o of Object.values(e.outputs))for(const i of o.images||[]){"
    "const g=new Image();g.src='view?'+new URLSearchParams(i);p.append(g)}}"
    "open()</script></html>\n";
