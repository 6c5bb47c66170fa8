# ROS 2 Jazzy with the package's environment: the steps of `make setup`, which uses the ROS that is sourced.
FROM ros:jazzy
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      g++ git make python3-dev python3-venv \
      ros-jazzy-event-camera-msgs ros-jazzy-tf2-msgs ros-jazzy-vision-msgs \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /sam_ad_perception
COPY . .
RUN . /opt/ros/jazzy/setup.sh && make setup
ENV PATH=/sam_ad_perception/.venv/bin:$PATH
ENTRYPOINT ["/bin/bash", "-c", ". /opt/ros/jazzy/setup.sh && . .venv/ros.sh && exec \"$@\"", "--"]
CMD ["sam_ad", "doctor"]
