#!/usr/bin/env bash
# Every way a command line or a workflow can be wrong: exit code 2, a message that says what is wrong, and no file written.
. "$(dirname "$0")/lib.sh"
cd "$work"
out=$work/output

# ---- the command line ----
expect 2;                                           says usage
expect 0 --help
expect 0 --version
expect 2 frobnicate;                                says frobnicate
expect 2 run;                                       says usage
expect 0 run --help
expect 2 run nothing-here.json;                     says nothing-here.json
expect 2 run demmo;                                 says demmo "did you mean demo"
expect 2 run "$work";                               says directory
expect 2 run demo --device toaster;                 says --device toaster
expect 2 run demo --dtype f12;                      says --dtype f12
expect 2 run demo --threads 0;                      says --threads
expect 2 run demo --threads many;                   says --threads many
expect 2 run demo --set 8.steps;                    says --set
expect 2 run demo --set 99.steps=1;                 says 99
expect 2 run demo --set 8.stepps=1 --output "$out"; says stepps
expect 2 run demo --models "$work/none";            says "$work/none"
expect 2 run demo --output;                         says --output

# ---- a template's parameters ----
expect 2 run demo --colour red;                     says colour
expect 2 run demo --steps 0;                        says steps 0
expect 2 run demo --steps many;                     says steps many
expect 2 run demo --cfg 101;                        says cfg 101
expect 2 run demo --cfg nan;                        says cfg
expect 2 run demo --seed -1;                        says seed
expect 2 run demo --seed 18446744073709551616;      says seed
expect 2 run demo --steps 3 --num_inference_steps 4; says steps
expect 2 run flux;                                  says prompt
expect 0 run demo --num-inference-steps 1 --width 64 --height 64 --seed 18446744073709551615 --negative-prompt snow --output "$work/good"
has_files 1 "$work/good"

# ---- what is no workflow ----
wrong() {               # wrong NAME CONTENT TEXT...: running this content fails and says so
    printf '%s' "$2" >"$work/$1.json"
    expect 2 run "$work/$1.json" --output "$out"
    shift 2
    says "$@"
}
: >empty.json
expect 2 run empty.json;                            says empty.json
wrong half '{"1": {"class_type": "KSampler", "inputs":' half.json
wrong words 'not json' words.json
wrong list '[1, 2]' list.json
wrong number '7' number.json
wrong nodes '{"1": 5}' nodes.json
wrong noclass '{"1": {"inputs": {}}}' class_type
wrong twice '{} {}' twice.json
wrong deep "$(printf '%*s' 100000 '' | tr ' ' '[')" deep.json
wrong deep2 "$(printf '{"a":%.0s' $(seq 500))1$(printf '}%.0s' $(seq 500))" deep2.json
head -c 100000 /dev/urandom >noise.json
expect 2 run noise.json;                            says noise.json
printf '\xff\xfe{"1": {}}' >bytes.json
expect 2 run bytes.json;                            says bytes.json

# ---- wrong graphs ----
graph '' >good.json
expect 0 run good.json "${tiny[@]}" --output "$work/good2"
has_files 1 "$work/good2"
bad() {                 # bad SED-SCRIPT TEXT...: the demo's graph with this change is refused with these words
    graph "$1" >bad.json
    cmp -s bad.json good.json && fail "the change $1 changed nothing"
    expect 2 run bad.json --output "$out"
    shift
    says "$@"
}
bad 's/"KSampler"/"KSamplr"/' KSamplr KSampler
bad 's/"seed": 0, //' seed
bad 's/"steps": 20/"steps": "many"/' steps
bad 's/"steps": 20/"steps": 0/' steps
bad 's/"steps": 20/"steps": 10001/' steps
bad 's/"steps": 20/"steps": [1, 2, 3]/' steps
bad 's/"cfg": 1.0/"cfg": 100.5/' cfg
bad 's/"cfg": 1.0/"cfg": NaN/'
bad 's/"seed": 0/"seed": -1/' seed
bad 's/"seed": 0/"seed": 18446744073709551616/' seed
bad 's/"euler"/"eulr"/' sampler_name eulr
bad 's/"samples": \["8", 0\]/"samples": ["88", 0]/' 88
bad 's/"samples": \["8", 0\]/"samples": ["8", 5]/'
bad 's/"samples": \["8", 0\]/"samples": ["3", 0]/' samples VAE LATENT
bad 's/"latent_image": \["7", 0\]/"latent_image": ["8", 0]/'
bad '/"10": {/d; s/"title": "Decode"}},/"title": "Decode"}}/'
bad 's/"flux-demo.safetensors"/"flux-dem.safetensors"/' flux-dem.safetensors flux-demo.safetensors unet_name
bad 's/"ae-demo.safetensors"/"..\/..\/README.md"/' vae_name
# all at once: every problem is named
bad 's/"steps": 20/"steps": 0/; s/"cfg": 1.0/"cfg": 1000/; s/"ae-demo.safetensors"/"none.safetensors"/' steps cfg none.safetensors

# what a node does not declare is not its business
graph 's/"steps": 20/"steps": 20, "colour": "red"/' >extra.json
expect 0 run extra.json "${tiny[@]}" --output "$work/good3"
# numbers as text are converted
graph 's/"steps": 20/"steps": "1"/; s/256/"64"/g' >text.json
expect 0 run text.json --output "$work/good4"
has_files 1 "$work/good4"

expect 0 check good.json
graph 's/"steps": 20/"steps": 0/' >bad.json
expect 2 check bad.json
grep -q steps "$work/.stdout" "$work/.stderr" || fail "check does not name the input"
expect 2 check bad.json --json
grep -q value_smaller_than_min "$work/.stdout" || fail "check --json does not show the server's answer"

has_files 0 "$out"
finish
