# qwenvl on CUDA: vLLM's own image, with its torch and its vLLM as they are.
FROM vllm/vllm-openai:v0.33.0

COPY pyproject.toml README.md LICENSE /src/
COPY qwenvl /src/qwenvl
# The constraint pins what the image holds, so that pip installs beside it and cannot replace torch, vLLM or CUDA.
RUN uv pip list --system --format=freeze > /tmp/image.txt \
    && uv pip install --system --no-cache --constraint /tmp/image.txt /src \
    && python3 -c "import torch, vllm, qwenvl" \
    && rm -rf /src /tmp/image.txt

RUN useradd --create-home --uid 10001 qwenvl \
    && mkdir /cache /data && chown qwenvl:qwenvl /cache /data
USER qwenvl
WORKDIR /home/qwenvl

# Downloaded checkpoints and compiled graphs outlive the container in /cache, files and batches in /data.
ENV HF_HOME=/cache/huggingface \
    MODELSCOPE_CACHE=/cache/modelscope \
    VLLM_CACHE_ROOT=/cache/vllm \
    QWENVL_DATA_DIR=/data
VOLUME /cache /data
EXPOSE 8000

# Loading a 10 B model from a cold disk takes minutes; until then the container is starting, not unhealthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]

# The address stands here, not in CMD, so that naming a model leaves it in force.
ENTRYPOINT ["qwenvl", "serve", "--host", "0.0.0.0"]
