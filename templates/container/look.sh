# What there is in the image, asked in it: a line `key value` each, and then all that npu-smi says.
version() {
  python3 -c "import importlib.metadata as m; print(m.version('$1'))" 2>/dev/null
}
echo "python $(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null)"
for package in ray vllm vllm-ascend; do echo "$package $(version "$package")"; done
echo "program $(type -P vllm)"
said=$(timeout -k 5 30 npu-smi info 2>&1 </dev/null)
echo "npu-smi $?"
printf '%s\n' "$said"
