# docker build --tag rsmeta .
# docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" rsmeta predict scene.tif --model run/bundle --output map.tif
#
# PyTorch's default wheels bring CUDA (docker run --gpus all). For an image of the CPU alone, give
# pip's options for PyTorch's CPU wheels: --build-arg TORCH_OPTIONS="...".
FROM python:3.12-slim

# What the wheels of rasterio need, and the slim image lacks.
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*

ARG TORCH_OPTIONS=""
ARG EXTRAS="arrays,s3,dask,hub"

RUN pip install --no-cache-dir torch torchvision ${TORCH_OPTIONS}
COPY . /src
RUN pip install --no-cache-dir "/src[${EXTRAS}]" && rm -rf /src

# Caches of weights lie where the user who runs the container may write.
ENV HF_HOME=/tmp/cache/huggingface TORCH_HOME=/tmp/cache/torch MPLCONFIGDIR=/tmp/cache/matplotlib
RUN useradd --create-home rsmeta
USER rsmeta
WORKDIR /data
ENTRYPOINT ["rsmeta"]
CMD ["--help"]
